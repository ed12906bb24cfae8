"""`evaluate` and `record` as they are exported.

Environments are stepped as in training on the same platform, and a signal interrupts although a simulator hangs.
"""

import dataclasses
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import jax
import numpy as np

from rpo_jax.algorithm import evaluation
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Scalar
from rpo_jax.algorithm.types import Policy
from rpo_jax.compiling.jit import is_nested
from rpo_jax.execution import waiting

Result = TypeVar("Result")


def _as_trained(agent: Agent) -> Agent:
    env = agent.env.on(jax.default_backend())
    return agent if env is agent.env else dataclasses.replace(agent, env=env)


def _interruptible(play: Callable[..., Result]) -> Callable[..., Result]:
    @wraps(play)
    def call(agent: Agent, *args: Any, **options: Any) -> Result:
        played = partial(play, _as_trained(agent), *args, **options)
        if not agent.env.on_host or is_nested():  # a part of another program does not wait
            return played()
        return waiting.call(agent.env, lambda: jax.block_until_ready(played()))

    return call


evaluate = _interruptible(evaluation.evaluate)
record = _interruptible(evaluation.record)


def evaluate_all(
    agent: Agent, policies: Policy, key: jax.Array, num_episodes: int, *, sample: bool = False, observation_clip: Scalar
) -> np.ndarray:
    """Evaluates the policies of all runs of a sweep on the same episodes, stepped as in training.

    Args:
        agent: static part of the runs, from `make_agent`.
        policies: policies, leaves [H, S, ...].
        key: random key of the episodes.
        num_episodes: number of episodes of each policy.
        sample: whether to sample actions from the policy instead of taking its mean action.
        observation_clip: bound of normalised observations for each setting [H].

    Returns:
        Undiscounted returns [H, S, num_episodes].

    Raises:
        SettingsError: if `key` is not a random key.
        SimulatorError: if an environment on the host fails.
    """
    parts = _as_trained(agent), policies, key, num_episodes
    return evaluation.evaluate_all(*parts, sample=sample, observation_clip=observation_clip)
