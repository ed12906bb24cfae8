"""What does training through EnvPool cost beside EnvPool stepping alone, with as many environments?

Stepping alone: one pool in a Python loop, random actions. Training: `sweep`, with networks of 64-64 and both
normalisations; it includes the opening of its pools. They take turns; medians of three measurements, compilation apart.
"""

import dataclasses
import statistics
import time
from typing import Annotated, Any

import envpool
import numpy as np
import tyro
from rich.console import Console

import rpo_jax
from arguments import chosen
from recording import add
from rpo_jax.settings.presets import PAPER, override

TURNS = 3


@dataclasses.dataclass(frozen=True)
class Work:
    """`seeds` runs of one task, by preset `paper` but for what is named."""

    task: str
    seeds: int
    num_envs: int
    num_steps: int
    num_minibatches: int
    num_epochs: int
    updates: int


WORKS = {
    f"{task}, {seeds} x {envs}": Work(task, seeds, envs, *sizes)
    for task in ("HopperHop-v1", "WalkerRun-v1")
    for seeds, envs, *sizes in ((8, 16, 128, 8, 4, 60), (10, 1, 2048, 32, 10, 12))
}


def main(works: Annotated[tuple[str, ...], tyro.conf.Positional] = ()) -> None:
    """Times training through EnvPool, and writes `results/envpool_speed.json`.

    Args:
        works: such as 'HopperHop-v1, 8 x 16'; all if none.
    """
    rpo_jax.use_cpu_cores()
    for name in chosen("work", works, WORKS):
        row = {"work": name, **measure(WORKS[name])}
        Console(stderr=True).print(row)
        add("envpool_speed", row, "work")


def measure(work: Work) -> dict[str, Any]:
    """Steps per second of EnvPool alone, and of training."""
    sizes = {name: getattr(work, name) for name in ("num_envs", "num_steps", "num_minibatches", "num_epochs")}
    timesteps = work.num_envs * work.num_steps * work.updates
    shuffle = "samples" if work.num_envs == 1 else "environments"
    preset = override(PAPER, {**sizes, "total_timesteps": timesteps, "shuffle": shuffle})
    agent = rpo_jax.make_agent(rpo_jax.make_env(f"envpool/{work.task}"), rpo_jax.RPO, preset.config)
    keys, settings = rpo_jax.seeds(0, work.seeds), rpo_jax.grid(preset.hyperparams)
    total = work.seeds * work.num_envs
    rpo_jax.sweep(agent, settings, keys)  # compiles
    turns = [(alone(work.task, total), training(agent, settings, keys)) for _ in range(TURNS)]
    stepping, trained = (statistics.median(turn[index] for turn in turns) for index in (0, 1))
    return {
        **dataclasses.asdict(work),
        "stepping_alone": round(stepping),
        "training": round(work.seeds * timesteps / trained),
    }


def training(agent: rpo_jax.Agent, settings: rpo_jax.Hyperparams, keys: Any) -> float:
    """Seconds of a sweep."""
    began = time.perf_counter()
    rpo_jax.sweep(agent, settings, keys)
    return time.perf_counter() - began


def alone(task: str, num_envs: int, seconds: float = 3.0) -> float:
    """Steps per second of one pool."""
    pool = envpool.make_gymnasium(task, num_envs=num_envs)
    pool.reset()
    shape = (100, num_envs, *pool.action_space.shape)
    actions = np.random.default_rng(0).uniform(pool.action_space.low, pool.action_space.high, shape)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        pool.step(actions[count % 100])
        count += 1
    return count * num_envs / (time.perf_counter() - began)


if __name__ == "__main__":
    tyro.cli(main)
