"""Does preset `fast` learn on Brax? Four tasks on backend `spring`, 3 seeds each, RPO."""

from rpo_jax.runs.spec import make_spec
from study import run_study

TASKS = ("inverted_pendulum", "reacher", "hopper", "ant")
SPECS = {task: make_spec(f"brax/{task}", "rpo", "fast", num_seeds=3) for task in TASKS}

if __name__ == "__main__":
    run_study("brax_fast", SPECS)
