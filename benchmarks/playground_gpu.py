"""PPO and RPO on DeepMind Control by MJX, thousands of environments on one GPU, in place of the paper's IsaacGym.

Preset `fast`, 5 seeds; PPO is RPO with alpha 0, and both are trained in one call. On a CPU it takes days.
"""

import argparse

from rpo_jax.settings.spec import make_spec
from study import run_study
from throughput import check_known

TASKS = ("PendulumSwingup", "CartpoleSwingup", "WalkerRun", "HopperHop")


def main() -> None:
    """Trains on the tasks named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--num-envs", type=int, default=2048, help="of each seed")
    parser.add_argument("--total-timesteps", type=int, default=40_960_000, help="of each seed")
    options = parser.parse_args()
    check_known("task", options.tasks, TASKS)
    specs = {
        task: make_spec(
            f"playground/{task}",
            "rpo",
            "fast",
            num_seeds=5,
            num_envs=options.num_envs,
            total_timesteps=options.total_timesteps,
            rpo_alpha=[0.0, 0.5],
        )
        for task in options.tasks or TASKS
    }
    run_study("playground_gpu", specs)


if __name__ == "__main__":
    main()
