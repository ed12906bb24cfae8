"""Do the published differences between PPO and RPO show on the suites that they were measured on?

Preset `paper`, 2M steps, 5 seeds: tasks of DeepMind Control and Gym by EnvPool, with time limits as terminations, as
published, and some of them with bootstrapping. PPO is RPO with alpha 0, and both are trained in one call.
"""

from typing import Annotated

import tyro

from arguments import chosen
from rpo_jax import use_cpu_cores
from rpo_jax.settings.spec import RunSpec, make_spec
from study import run_study

TASKS = {
    "terminate": ("Pendulum-v1", "PendulumSwingup-v1", "WalkerRun-v1", "HopperHop-v1", "BipedalWalker-v3"),
    "bootstrap": ("Pendulum-v1", "PendulumSwingup-v1"),
}
WORKS = {f"{task}, {time_limit}": (task, time_limit) for time_limit in TASKS for task in TASKS[time_limit]}


def main(works: Annotated[tuple[str, ...], tyro.conf.Positional] = ()) -> None:
    """Trains on EnvPool's tasks, and writes `results/suites_paper.json`.

    Args:
        works: such as 'Pendulum-v1, terminate'; all if none.
    """
    use_cpu_cores()
    run_study("suites_paper", {name: spec(*WORKS[name]) for name in chosen("work", works, WORKS)})


def spec(task: str, time_limit: str) -> RunSpec:
    """PPO and RPO on a task, with that treatment of its time limit."""
    return make_spec(
        f"envpool/{task}",
        "rpo",
        "paper",
        num_seeds=5,
        time_limit=time_limit,
        total_timesteps=980 * 2048,
        rpo_alpha=[0.0, 0.5],
    )


if __name__ == "__main__":
    tyro.cli(main)
