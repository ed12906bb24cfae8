"""Evaluation during training: the same episodes each time, in separate environments, with frozen normalisation."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SimulatorError
from rpo_jax.execution.episodes import evaluate_all
from rpo_jax.execution.processes import are_several, gather_rows, own_rows, together
from rpo_jax.keys import as_keys
from rpo_jax.settings.bounds import check_evaluations


class Evaluated(NamedTuple):
    """The results of all evaluations so far, E of them.

    Attributes:
        updates: number of updates before each evaluation [E].
        returns: undiscounted return of each episode [H, S, E, episodes].
        best: the policy of each run with the highest mean return, leaves [H, S, ...].
        best_return: that mean return [H, S]; -inf where every evaluation had episodes in which the simulator produced
            non-finite numbers.
    """

    updates: np.ndarray
    returns: np.ndarray
    best: Policy
    best_return: np.ndarray


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """When and how to evaluate during a fit.

    Attributes:
        count: number of evaluations, evenly spaced over the updates; the last is after the last update.
        num_episodes: number of episodes of each policy, played with its mean action.
        key: random key of the episodes, the same in every evaluation.

    Raises:
        SettingsError: if a number is out of range.
    """

    count: int
    num_episodes: int
    key: jax.Array

    def __post_init__(self) -> None:
        """Checks the numbers and the key."""
        check_evaluations(self.count, self.num_episodes)
        object.__setattr__(self, "key", as_keys(self.key))


class Evaluator:
    """Evaluates the policies of a fit at the updates that an `Evaluation` asks for, and keeps the results.

    Attributes:
        found: the results so far.
    """

    def __init__(self, evaluation: Evaluation | None, agent: Agent, clips: np.ndarray, like: Policy):
        """Creates an evaluator without results.

        Args:
            evaluation: when and how to evaluate; never if None.
            agent: from `make_agent`.
            clips: bound at which observations are clipped, for each setting [H].
            like: shapes and dtypes of the policies, leaves [H, S, ...].
        """
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
        """Returns the number of updates until the next evaluation; at least those that are left, if there is none.

        Args:
            updates: number of updates so far.
        """
        return next((due - updates for due in self._due if due > updates), self._agent.config.num_updates)

    def is_due(self, updates: int) -> bool:
        """Returns whether an evaluation is due and has not been done.

        Args:
            updates: number of updates so far.
        """
        return updates in self._due and updates not in self.found.updates

    def evaluate(self, updates: int, policies: Policy) -> np.ndarray:
        """Evaluates the policies, and adds the results to `found`.

        Args:
            updates: number of updates so far.
            policies: policies of all runs, leaves [H, S, ...].

        Returns:
            Undiscounted returns [H, S, episodes].

        Raises:
            SimulatorError: if an environment on the host fails.
        """
        assert self._evaluation is not None
        try:
            returns = self._evaluate_own(policies) if are_several() else self._play(policies, self._clips)
        except SimulatorError as error:
            error.index = None  # the environment is not one of a training run
            raise
        means = returns.mean(-1)
        first = not self.found.updates.size
        better = (means > self.found.best_return) | first  # NaN, from a non-finite episode, is never better

        def take_better(new: jax.Array, old: np.ndarray) -> np.ndarray:
            return np.where(better.reshape(better.shape + (1,) * (old.ndim - 2)), np.asarray(new), old)

        self.found = Evaluated(
            np.append(self.found.updates, np.int32(updates)).astype(np.int32),
            np.concatenate([self.found.returns, returns[:, :, None]], axis=2),
            jax.tree.map(take_better, policies, self.found.best),
            np.fmax(means, self.found.best_return).astype(np.float32),
        )
        return returns

    def _play(self, policies: Policy, clips: np.ndarray) -> np.ndarray:
        assert self._evaluation is not None
        key, num_episodes = self._evaluation.key, self._evaluation.num_episodes
        return evaluate_all(self._agent, policies, key, num_episodes, observation_clip=clips)

    def _evaluate_own(self, policies: Policy) -> np.ndarray:
        """Evaluates some of the policies in each process; returns the returns of all [H, S, episodes]."""
        num_settings, num_seeds = jax.tree.leaves(policies)[0].shape[:2]
        own, count = own_rows(num_settings * num_seeds), num_settings * num_seeds
        rows = jax.tree.map(lambda x: x.reshape(count, 1, *x.shape[2:])[own], policies)
        played = together(lambda: self._play(rows, np.repeat(self._clips, num_seeds)[own]))
        return gather_rows(played)[:count].reshape(num_settings, num_seeds, -1)
