"""`evaluate`, `record` and `evaluate_all` as the rest of the library uses them.

Environments are stepped as in training on the same platform, and a signal interrupts although a simulator hangs.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial, wraps
from typing import Any, TypeVar

import jax

from rpo_jax.algorithm import evaluation
from rpo_jax.algorithm.agent import Agent
from rpo_jax.compiling.jit import is_nested
from rpo_jax.execution import waiting

Result = TypeVar("Result")


@lru_cache(maxsize=256)  # agents are compared by identity: another one would be compiled for anew
def _on(agent: Agent, platform: str) -> Agent:
    env = agent.env.on(platform)
    return agent if env is agent.env else dataclasses.replace(agent, env=env)


def _as_trained(play: Callable[..., Result]) -> Callable[..., Result]:
    @wraps(play)
    def call(agent: Agent, *args: Any, **options: Any) -> Result:
        return play(_on(agent, jax.default_backend()), *args, **options)

    return call


def _interruptible(play: Callable[..., Result]) -> Callable[..., Result]:
    @wraps(play)
    def call(agent: Agent, *args: Any, **options: Any) -> Result:
        played = partial(play, agent, *args, **options)
        if not agent.env.on_host or is_nested():  # a part of another program does not wait
            return played()
        return waiting.call(agent.env, lambda: jax.block_until_ready(played()))

    return call


evaluate = _as_trained(_interruptible(evaluation.evaluate))
record = _as_trained(_interruptible(evaluation.record))
evaluate_all = _as_trained(evaluation.evaluate_all)
