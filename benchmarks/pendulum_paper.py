"""Does PPO fail on Pendulum, as the paper says, and what does the treatment of time limits do to that?

Preset `paper`, 1M steps, 5 seeds: PPO and RPO, time limits as terminations and bootstrapped, three heads or those named
on the command line.
"""

import sys

from rpo_jax.settings.spec import make_spec
from study import run_study

SPECS = {
    f"{head}, {time_limit}, {variant}": make_spec(
        "gymnax/Pendulum-v1",
        variant,
        "paper",
        num_seeds=5,
        head=head,
        time_limit=time_limit,
        total_timesteps=1_000_000,
    )
    for head in sys.argv[1:] or ("normal", "laplace", "gumbel")
    for time_limit in ("terminate", "bootstrap")
    for variant in ("ppo", "rpo")
}

if __name__ == "__main__":
    run_study("pendulum_paper", SPECS)
