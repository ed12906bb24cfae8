"""Do the published differences between PPO and RPO show on the suites that they were measured on?

Preset `paper`, 2M steps, 5 seeds: tasks of DeepMind Control and Gym by EnvPool, with time limits as terminations, as
published, and some of them with bootstrapping. PPO is RPO with alpha 0, and both are trained in one call.
"""

import sys

from rpo_jax.settings.spec import make_spec
from study import run_study
from throughput import check_known

TASKS = {
    "terminate": ("Pendulum-v1", "PendulumSwingup-v1", "WalkerRun-v1", "HopperHop-v1", "BipedalWalker-v3"),
    "bootstrap": ("Pendulum-v1", "PendulumSwingup-v1"),
}
WORKS = {f"{task}, {time_limit}": (task, time_limit) for time_limit in TASKS for task in TASKS[time_limit]}


def main() -> None:
    """Trains the works named on the command line, or all."""
    check_known("work", sys.argv[1:], WORKS)
    specs = {
        name: make_spec(
            f"envpool/{task}",
            "rpo",
            "paper",
            num_seeds=5,
            time_limit=time_limit,
            total_timesteps=980 * 2048,
            rpo_alpha=[0.0, 0.5],
        )
        for name, (task, time_limit) in WORKS.items()
        if name in (sys.argv[1:] or WORKS)
    }
    run_study("suites_paper", specs)


if __name__ == "__main__":
    main()
