"""PPO and RPO on DeepMind Control by MJX, thousands of environments on one GPU, in place of the paper's IsaacGym.

Preset `fast`, 5 seeds; PPO is RPO with alpha 0, and both are trained in one call. On a CPU it takes days.
"""

from typing import Annotated

import tyro

from arguments import chosen
from rpo_jax import use_cpu_cores
from rpo_jax.settings.spec import make_spec
from study import run_study

TASKS = ("PendulumSwingup", "CartpoleSwingup", "WalkerRun", "HopperHop")


def main(
    tasks: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    num_envs: int = 2048,
    total_timesteps: int = 40_960_000,
) -> None:
    """Trains on MuJoCo Playground, and writes `results/playground_gpu.json`.

    Args:
        tasks: names of tasks; all if none.
        num_envs: environments of each seed.
        total_timesteps: of each seed.
    """
    use_cpu_cores()
    specs = {
        task: make_spec(
            f"playground/{task}",
            "rpo",
            "fast",
            num_seeds=5,
            num_envs=num_envs,
            total_timesteps=total_timesteps,
            rpo_alpha=[0.0, 0.5],
        )
        for task in chosen("task", tasks, TASKS)
    }
    run_study("playground_gpu", specs)


if __name__ == "__main__":
    tyro.cli(main)
