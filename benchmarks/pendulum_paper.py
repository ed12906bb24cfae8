"""Does PPO fail on Pendulum, as the paper says, and what does the treatment of time limits do to that?

Preset `paper`, 1M steps, 5 seeds: PPO and RPO, time limits as terminations and bootstrapped, three heads.
"""

from typing import Annotated

import tyro

from rpo_jax import use_cpu_cores
from rpo_jax.settings.spec import make_spec
from study import run_study

HEADS = ("normal", "laplace", "gumbel")


def main(heads: Annotated[tuple[str, ...], tyro.conf.Positional] = HEADS) -> None:
    """Trains on Pendulum, and writes `results/pendulum_paper.json`.

    Args:
        heads: of the policy.
    """
    use_cpu_cores()
    specs = {
        f"{head}, {time_limit}, {variant}": make_spec(
            "gymnax/Pendulum-v1",
            variant,
            "paper",
            num_seeds=5,
            head=head,
            time_limit=time_limit,
            total_timesteps=1_000_000,
        )
        for head in heads
        for time_limit in ("terminate", "bootstrap")
        for variant in ("ppo", "rpo")
    }
    run_study("pendulum_paper", specs)


if __name__ == "__main__":
    tyro.cli(main)
