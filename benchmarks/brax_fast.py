"""Does preset `fast` learn on Brax? Backend `spring`, 8 seeds, RPO."""

from typing import Annotated

import tyro

from rpo_jax import use_cpu_cores
from rpo_jax.settings.spec import make_spec
from study import run_study

TASKS = ("inverted_pendulum", "reacher", "hopper", "ant")


def main(tasks: Annotated[tuple[str, ...], tyro.conf.Positional] = TASKS) -> None:
    """Trains on Brax, and writes `results/brax_fast.json`.

    Args:
        tasks: any of Brax.
    """
    use_cpu_cores()
    specs = {task: make_spec(f"brax/{task}", "rpo", "fast", num_seeds=8) for task in tasks}
    run_study("brax_fast", specs)


if __name__ == "__main__":
    tyro.cli(main)
