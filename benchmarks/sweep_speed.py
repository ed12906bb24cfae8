"""What does a sweep cost? One run of Pendulum, its 8 seeds, and 5 alphas x 8 seeds, each in one call; preset `fast`."""

import tyro

from recording import origin, write
from rpo_jax import use_cpu_cores
from rpo_jax.runs.summary import summarize
from rpo_jax.settings.spec import make_spec
from study import train

ALPHAS = [0.0, 0.1, 0.25, 0.5, 1.0]
SIZES = {"1 run": (1, [0.5]), "8 seeds": (8, [0.5]), "5 alphas x 8 seeds": (8, ALPHAS)}


def main() -> None:
    """Trains each size once, and writes the times, compilation apart, into `results/sweep_speed.json`."""
    use_cpu_cores()
    rows = []
    for label, (num_seeds, alphas) in SIZES.items():
        spec = make_spec("gymnax/Pendulum-v1", num_seeds=num_seeds, rpo_alpha=alphas)
        summary = summarize(spec, train(spec))
        rows.append({**origin(), "label": label, "runs": num_seeds * len(alphas), "summary": summary})
    write("sweep_speed", rows)


if __name__ == "__main__":
    tyro.cli(main)
