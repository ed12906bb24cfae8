"""Is the same task the same in every suite? A policy trained in one plays in the others.

RPO by preset `fast`: on gymnax/Pendulum-v1, and on playground/CartpoleBalance with fewer environments and steps. Each
seed's policy plays 128 episodes with its mean action in each suite, which draws its own starting states.
"""

from typing import Annotated, Any

import jax
import numpy as np
import tyro
from rich.console import Console

from arguments import chosen
from recording import add
from rpo_jax import evaluate, make_agent, make_env, seeds, use_cpu_cores
from rpo_jax.algorithm.types import Policy
from rpo_jax.settings.spec import RunSpec, make_spec
from study import train

EPISODES = 128
WORKS: dict[str, dict[str, Any]] = {
    "Pendulum-v1": {
        "suites": ["gymnax/Pendulum-v1", "gymnasium/Pendulum-v1", "envpool/Pendulum-v1"],
        "settings": {"num_seeds": 8},
    },
    "CartpoleBalance": {
        "suites": ["playground/CartpoleBalance", "envpool/CartpoleBalance-v1"],
        "settings": {"num_seeds": 6, "num_envs": 128, "total_timesteps": 64 * 128 * 32},
    },
}


def main(tasks: Annotated[tuple[str, ...], tyro.conf.Positional] = ()) -> None:
    """Trains in one suite, plays in others, and writes `results/suites_transfer.json`.

    Args:
        tasks: names of tasks; all if none.
    """
    use_cpu_cores()
    for task in chosen("task", tasks, WORKS):
        suites, settings = WORKS[task]["suites"], WORKS[task]["settings"]
        row = {"task": task, **settings, "returns": play(make_spec(suites[0], "rpo", **settings), suites)}
        Console(stderr=True).print(row)
        add("suites_transfer", row, "task")


def play(spec: RunSpec, suites: list[str]) -> dict[str, list[list[float]]]:
    """Trains in the first suite; mean and standard error of the returns of each seed's policy in every suite."""
    policies, found = train(spec).state.policy, {}
    for name in suites:
        agent = make_agent(make_env(name), config=spec.config)
        found[name] = [scored(agent, policies, seed) for seed in range(len(spec.seeds))]
    return found


def scored(agent: Any, policies: Policy, seed: int) -> list[float]:
    """Mean return of the policy of one seed, and its standard error."""
    policy = jax.tree.map(lambda x: x[0, seed], policies)
    returns = np.asarray(evaluate(agent, policy, seeds(1000 + seed, 1)[0], EPISODES))
    agent.env.check()
    return [round(float(x), 2) for x in (returns.mean(), returns.std(ddof=1) / np.sqrt(EPISODES))]


if __name__ == "__main__":
    tyro.cli(main)
