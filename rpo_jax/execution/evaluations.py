"""Evaluation while training: the same episodes each time, in environments of its own, with frozen moments."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.evaluation import evaluate_all
from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SimulatorError


class Evaluated(NamedTuple):
    """What evaluations have found so far.

    Attributes:
        updates: after which they were [E].
        returns: undiscounted, of each episode [H, S, E, episodes].
        best: of each run the policy with the greatest mean return, leaves [H, S, ...].
        best_return: that return [H, S]; -inf where all evaluations had episodes that broke the simulator.
    """

    updates: np.ndarray
    returns: np.ndarray
    best: Policy
    best_return: np.ndarray


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """When and how to evaluate during a fit.

    Attributes:
        count: evaluations, evenly spaced over the updates; the last is at the end.
        num_episodes: of each policy, with its mean action.
        key: of the episodes, the same ones each time.
    """

    count: int
    num_episodes: int
    key: jax.Array


class Evaluator:
    """Evaluates the policies of a fit when it is time."""

    def __init__(self, evaluation: Evaluation | None, agent: Agent, clips: Any, like: Policy):
        """For policies like these, leaves [H, S, ...], whose settings clip observations there [H]."""
        self._evaluation, self._agent, self._clips = evaluation, agent, clips
        count = min(evaluation.count, agent.config.num_updates) if evaluation else 0
        self._due = [agent.config.num_updates * (index + 1) // count for index in range(count)]
        episodes = evaluation.num_episodes if evaluation else 0
        shape = jax.tree.leaves(like)[0].shape[:2]
        best = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        self.found = Evaluated(
            np.zeros(0, np.int32),
            np.zeros((*shape, 0, episodes), np.float32),
            best,
            np.full(shape, -np.inf, np.float32),
        )

    def updates_left(self, updates: int) -> int:
        """How many updates may be done until the next evaluation."""
        return next((due - updates for due in self._due if due > updates), self._agent.config.num_updates)

    def is_due(self, updates: int) -> bool:
        """Whether it is time for one, which has not been done."""
        return updates in self._due and updates not in self.found.updates

    def evaluate(self, updates: int, policies: Policy) -> np.ndarray:
        """Evaluates policies, leaves [H, S, ...]; their returns [H, S, episodes].

        Raises:
            SimulatorError: if an environment on the host fails.
        """
        assert self._evaluation is not None
        key, num_episodes = self._evaluation.key, self._evaluation.num_episodes
        try:
            returns = evaluate_all(self._agent, policies, key, num_episodes, observation_clip=self._clips)
        except SimulatorError as error:
            error.index = None  # it is no environment of a run's
            raise
        means = returns.mean(-1)
        first = not self.found.updates.size
        better = (means > self.found.best_return) | first  # NaN, where an episode broke the simulator, is never better

        def better_of(new: Any, old: np.ndarray) -> np.ndarray:
            return np.where(better.reshape(better.shape + (1,) * (old.ndim - 2)), np.asarray(new), old)

        self.found = Evaluated(
            np.append(self.found.updates, np.int32(updates)).astype(np.int32),
            np.concatenate([self.found.returns, returns[:, :, None]], axis=2),
            jax.tree.map(better_of, policies, self.found.best),
            np.fmax(means, self.found.best_return).astype(np.float32),
        )
        return returns
