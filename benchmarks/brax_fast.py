"""Does preset `fast` learn on Brax? Tasks named on the command line, or all four; backend `spring`, 8 seeds, RPO."""

import sys

from rpo_jax.settings.spec import make_spec
from study import run_study

TASKS = sys.argv[1:] or ("inverted_pendulum", "reacher", "hopper", "ant")
SPECS = {task: make_spec(f"brax/{task}", "rpo", "fast", num_seeds=8) for task in TASKS}

if __name__ == "__main__":
    run_study("brax_fast", SPECS)
