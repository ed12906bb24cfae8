"""What a suite that runs on the host provides: a pool, which steps many environments at once with NumPy arrays."""

import math
from typing import Any, NamedTuple, Protocol

import numpy as np


class Outcome(NamedTuple):
    """The result of one step of n environments, in which those whose episode ended have been reset.

    Attributes:
        obs: observation to act on next [n, O].
        reward: reward of the step [n].
        terminated: whether the task ended [n] bool.
        truncated: whether the time limit ended the episode [n] bool.
        final_obs: next observation before any reset [n, O]; NaN where the simulator produced non-finite numbers.
    """

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_obs: np.ndarray


class Pool(Protocol):
    """A number of environments of one suite that are stepped together, each with its own seed.

    `reset` and `step` may raise a `SimulatorError` whose `index` says which environment failed.
    """

    def reset(self) -> np.ndarray:
        """Begins an episode in every environment and returns the first observations [n, O]."""
        ...

    def step(self, action: np.ndarray) -> Outcome:
        """Steps every environment, and resets those whose episode ends.

        Args:
            action: actions within the bounds [n, A] float32.

        Returns:
            The result of the step; `cut_where_broken` has ended episodes that are not finite.
        """
        ...

    def close(self) -> None:
        """Frees what the environments hold, such as threads."""
        ...


def cut_where_broken(
    obs: np.ndarray, reward: np.typing.ArrayLike, terminated: Any, truncated: Any
) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    """Ends episodes whose observation or reward is not finite: truncated, with NaN as observation and reward 0.

    Args:
        obs: next observations before any reset [..., O].
        reward: rewards [...].
        terminated: whether the task ended [...] bool, a Python bool if there is one environment.
        truncated: whether the time limit ended the episode [...] bool, likewise.

    Returns:
        The same four, observations and rewards as float32, in which the algorithm computes.
    """
    with np.errstate(over="ignore"):
        obs, reward = np.asarray(obs, np.float32), np.asarray(reward, np.float32)
        if math.isfinite(np.vdot(obs, obs) + np.vdot(reward, reward)):  # in a fraction of the time of what follows
            return obs, reward, terminated, truncated
    broken = ~(np.isfinite(obs).all(-1) & np.isfinite(reward))
    if not broken.any():
        return obs, reward, terminated, truncated
    obs = np.where(broken[..., None], np.nan, obs)
    return obs, np.where(broken, 0.0, reward), terminated & ~broken, truncated | broken
