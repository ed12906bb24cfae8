"""Do minibatches of whole environments, which are faster to make, teach worse than minibatches of single samples?

Preset `fast` with either shuffle, RPO: Pendulum with 8 seeds, and two Brax tasks, backend `spring`, with 3.
"""

from typing import Any

import tyro

from rpo_jax import use_cpu_cores
from rpo_jax.settings.spec import make_spec
from study import run_study

EPISODES = {"total_timesteps": 2016 * 1024}  # two whole ones of each environment, and a round
TASKS: dict[str, dict[str, Any]] = {
    "gymnax/Pendulum-v1": {"num_seeds": 8},
    "brax/hopper": {"num_seeds": 3, **EPISODES},
    "brax/reacher": {"num_seeds": 3, **EPISODES},
}


def main() -> None:
    """Trains with either shuffle, and writes `results/shuffle.json`."""
    use_cpu_cores()
    specs = {
        f"{task.partition('/')[2]}, {shuffle}": make_spec(task, "rpo", "fast", shuffle=shuffle, **settings)
        for task, settings in TASKS.items()
        for shuffle in ("samples", "environments")
    }
    run_study("shuffle", specs)


if __name__ == "__main__":
    tyro.cli(main)
