"""`evaluate` and `record` as they are exported: a signal interrupts them although a simulator on the host hangs."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import jax

from rpo_jax.algorithm import evaluation
from rpo_jax.algorithm.agent import Agent
from rpo_jax.compiling.jit import is_nested
from rpo_jax.execution import waiting

Result = TypeVar("Result")


def _interruptible(play: Callable[..., Result]) -> Callable[..., Result]:
    @wraps(play)
    def call(agent: Agent, *args: Any, **options: Any) -> Result:
        played = partial(play, agent, *args, **options)
        if not agent.env.on_host or is_nested():  # a part of another program does not wait
            return played()
        return waiting.call(agent.env, lambda: jax.block_until_ready(played()))

    return call


evaluate = _interruptible(evaluation.evaluate)
record = _interruptible(evaluation.record)
