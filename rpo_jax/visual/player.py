"""The player of an episode."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.evaluation import Trajectory, record
from rpo_jax.algorithm.types import Policy
from rpo_jax.envs.carried import restore
from rpo_jax.execution import waiting
from rpo_jax.runs.evaluate import evaluation_key
from rpo_jax.typing import PyTree


class Player(NamedTuple):
    """A policy and the episode that it plays.

    Attributes:
        agent: agent of the run.
        policy: the policy of one run.
        clip: bound of normalised observations.
        seed: seed of the episode.
        max_steps: largest number of steps of the episode.
        sample: whether to act with a sample of the policy instead of its mean action.
        draw: function that draws an observation [O]; the renderer of the task if None.
    """

    agent: Agent
    policy: Policy
    clip: float
    seed: int
    max_steps: int
    sample: bool
    draw: Callable[[np.ndarray], Image.Image] | None = None

    @property
    def task(self) -> str:
        """Suite and id of the environment, without its arguments."""
        return self.agent.env.name.partition("(")[0]

    def episode(self) -> Trajectory:
        """Plays the episode; returns its T steps, leaves [T, ...].

        Raises:
            SimulatorError: if an environment on the host fails.
        """
        parts = self.agent, self.policy, evaluation_key(self.seed), self.max_steps
        play = partial(record, *parts, sample=self.sample, observation_clip=self.clip)
        # In NumPy: each new slice of an array of JAX is a program, and a page of Brax takes dozens.
        played = jax.device_get(waiting.call_and_check(self.agent.env, play))
        count = int(np.argmax(played.ended)) + 1 if played.ended.any() else self.max_steps
        return jax.tree.map(lambda x: x[:count], played)

    def scaled(self, env_action: jax.typing.ArrayLike) -> np.ndarray:
        """Scales actions to [-1, 1]: linearly between finite bounds that differ, by tanh otherwise.

        Args:
            env_action: actions of the environment [..., A].

        Returns:
            Scaled actions [..., A].
        """
        low, high, action = (np.asarray(x, float) for x in (self.agent.env.low, self.agent.env.high, env_action))
        bounded = np.isfinite(low) & np.isfinite(high) & (low < high)
        low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        return np.where(bounded, np.clip(2 * (action - low) / (high - low) - 1, -1, 1), np.tanh(action))


def simulations(episode: Trajectory) -> Iterator[PyTree]:
    """Yields the state of the simulator before each step, with which the states of Brax and Playground begin.

    What neither a step reads nor a picture shows is zero in it.

    Args:
        episode: an episode of T steps, from `Player.episode`.

    Yields:
        The states, T of them.
    """
    for step in range(len(episode.reward)):
        simulation, *_ = restore(jax.tree.map(lambda x, step=step: x[step, ..., 0], episode.env_state))
        yield simulation
