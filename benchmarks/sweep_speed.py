"""What does a sweep cost? One run of Pendulum, its 8 seeds, and 5 alphas x 8 seeds, each in one call; preset `fast`."""

from rich.console import Console

from rpo_jax import fit, seeds
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.summary import summarize
from rpo_jax.settings.spec import make_spec
from study import save

ALPHAS = [0.0, 0.1, 0.25, 0.5, 1.0]
SIZES = {"1 run": (1, [0.5]), "8 seeds": (8, [0.5]), "5 alphas x 8 seeds": (8, ALPHAS)}


def main() -> None:
    """Trains each size once and records times, compilation apart."""
    rows = []
    for label, (num_seeds, alphas) in SIZES.items():
        spec = make_spec("gymnax/Pendulum-v1", num_seeds=num_seeds, rpo_alpha=alphas)
        with ProgressBar(Console(stderr=True), spec).show() as bar:
            result = fit(spec.agent(), spec.hyperparams, seeds(0, num_seeds), bar)
        rows.append({"label": label, "runs": num_seeds * len(alphas), "summary": summarize(spec, result)})
    save("sweep_speed", rows)


if __name__ == "__main__":
    main()
