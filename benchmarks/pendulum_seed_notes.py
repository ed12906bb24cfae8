"""The seed notes' experiment over seeds: one run of each showed no difference between PPO and RPO. Is there one?

Preset `seed-notes`, 10 seeds, alpha 0 (PPO) and 0.3 (RPO, perturbed in rollout and update), in one call. The notes
divide the observations of the policy network by constants, but not those of the value network; a second study divides
both.
"""

import tyro

from rpo_jax import use_cpu_cores
from rpo_jax.settings.spec import make_spec
from study import run_study

SCALES = {"undivided, as in the notes": (), "divided too": (1.0, 1.0, 8.0)}  # of the value network's observations


def main() -> None:
    """Trains by the seed notes, and writes `results/pendulum_seed_notes.json`."""
    use_cpu_cores()
    specs = {
        label: make_spec(
            "gymnax/Pendulum-v1", "rpo", "seed-notes", num_seeds=10, rpo_alpha=[0.0, 0.3], value_observation_scale=scale
        )
        for label, scale in SCALES.items()
    }
    run_study("pendulum_seed_notes", specs)


if __name__ == "__main__":
    tyro.cli(main)
