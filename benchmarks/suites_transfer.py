"""Is the same task the same in every suite? A policy trained in one plays in the others.

RPO by preset `fast`: on gymnax/Pendulum-v1, and on playground/CartpoleBalance with fewer environments and steps. Each
seed's policy plays 128 episodes with its mean action in each suite, which draws its own starting states.
"""

import json
import sys
from typing import Any

import jax
import numpy as np
from rich.console import Console

from rpo_jax import evaluate, fit, make_agent, make_env, seeds
from rpo_jax.algorithm.types import Policy
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.settings.spec import RunSpec, make_spec
from study import RESULTS, command, machine, write
from throughput import check_known

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


def main() -> None:
    """Trains for the tasks named on the command line, or all, and writes each into `results/suites_transfer.json`."""
    check_known("task", sys.argv[1:], WORKS)
    path = RESULTS / "suites_transfer.json"
    runs = {run["task"]: run for run in json.loads(path.read_text())["runs"]} if path.exists() else {}
    for task in sys.argv[1:] or WORKS:
        suites, settings = WORKS[task]["suites"], WORKS[task]["settings"]
        returns = play(make_spec(suites[0], "rpo", **settings), suites)
        runs[task] = {"task": task, "command": command(), "machine": machine(), **settings, "returns": returns}
        Console(stderr=True).print(runs[task])
        write(path.stem, list(runs.values()))


def play(spec: RunSpec, suites: list[str]) -> dict[str, list[list[float]]]:
    """Trains in the first suite; mean and standard error of the returns of each seed's policy in every suite."""
    keys = seeds(spec.seeds[0], len(spec.seeds))
    with ProgressBar(Console(stderr=True), spec).show() as bar:
        state = fit(spec.agent(), spec.hyperparams, keys, bar).state
    found = {}
    for name in suites:
        agent = make_agent(make_env(name), config=spec.config)
        found[name] = [scored(agent, state.policy, seed) for seed in range(len(spec.seeds))]
    return found


def scored(agent: Any, policies: Policy, seed: int) -> list[float]:
    """Mean return of the policy of one seed, and its standard error."""
    policy = jax.tree.map(lambda x: x[0, seed], policies)
    returns = np.asarray(evaluate(agent, policy, seeds(1000 + seed, 1)[0], EPISODES))
    agent.env.check()
    return [round(float(x), 2) for x in (returns.mean(), returns.std(ddof=1) / np.sqrt(EPISODES))]


if __name__ == "__main__":
    main()
