"""The pool of Gymnasium's environments, whose results are checked before anything uses them."""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rpo_jax.envs.pool import Outcome, cut_where_broken
from rpo_jax.errors import SettingsError, SimulatorError, described

if TYPE_CHECKING:
    from gymnasium import Env

ATTEMPTS = 10  # to begin an episode with a finite observation
RETURNED = {"reset": 2, "step": 5}  # number of values that a method returns


class GymnasiumPool:
    """A `Pool` of environments vectorised by Gymnasium, reset in the same step that ends an episode."""

    def __init__(self, make: "Callable[[], Env]", seeds: Sequence[int]):
        """Opens the environments.

        Args:
            make: makes one environment with vector observations.
            seeds: seed of each environment.
        """
        vector = import_gymnasium().vector
        makers = [partial(_make_checked, make, index) for index in range(len(seeds))]
        self._envs = vector.SyncVectorEnv(makers, autoreset_mode=vector.AutoresetMode.SAME_STEP)
        self._seeds = list(seeds)

    def reset(self) -> np.ndarray:
        """Begins an episode in every environment and returns the first observations [n, O]."""
        return self._envs.reset(seed=self._seeds)[0]

    def step(self, action: np.ndarray) -> Outcome:
        """Steps every environment, and resets those whose episode ends.

        Args:
            action: actions within the bounds [n, A] float32.

        Returns:
            The result of the step.
        """
        obs, reward, terminated, truncated, info = self._envs.step(action.astype(self._envs.action_space.dtype))
        ended, final_obs = terminated | truncated, obs
        if ended.any():
            final_obs = obs.copy()
            final_obs[ended] = np.stack(info["final_obs"][ended])
        return Outcome(obs, reward, terminated, truncated, final_obs)

    def close(self) -> None:
        """Closes all environments."""
        self._envs.close()


def import_gymnasium() -> ModuleType:
    """Imports Gymnasium, which only its own suite needs.

    Returns:
        The module.

    Raises:
        SettingsError: if it is not installed.
    """
    try:
        return importlib.import_module("gymnasium")
    except ModuleNotFoundError:
        raise SettingsError("environments of Gymnasium need it: pip install 'rpo_jax[gymnasium]'") from None


def check_interface(env: "Env") -> None:
    """Makes an environment report that its methods are those of Gym, before its wrappers unpack what they return.

    Args:
        env: an environment of Gymnasium, in any wrappers.
    """
    for name, count in RETURNED.items():
        setattr(env.unwrapped, name, _checked(getattr(env.unwrapped, name), count))


def _checked(method: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Makes a method report that it does not return so many values."""

    @wraps(method)
    def call(*args: Any, **options: Any) -> Any:
        result = method(*args, **options)
        if not isinstance(result, tuple) or len(result) != count:
            raise TypeError(
                f"its {method.__name__} does not return {count} values: it has the interface of Gym before 0.26, and "
                "needs that of Gymnasium"
            )
        return result

    return call


def _make_checked(make: "Callable[[], Env]", index: int) -> "Env":
    """Makes an environment that checks its observations, and whose errors carry its index in the pool."""
    gymnasium = import_gymnasium()

    class CheckedEnv(gymnasium.Wrapper):
        def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            with _attribute_errors(index):
                for _ in range(ATTEMPTS):
                    obs = self._copy(super().reset(**options)[0])
                    if np.isfinite(obs).all():
                        return obs, {}
                    options = {}  # no seed, so that the next reset differs
                raise ValueError("its first observations are not finite")

        def step(self, action: np.ndarray) -> tuple[Any, ...]:
            with _attribute_errors(index):
                obs, reward, *ends, _ = super().step(action)
                results = self._copy(obs), float(np.asarray(reward).item()), *map(np.bool_, ends)
                return *cut_where_broken(*results), {}  # the info is not used

        def _copy(self, obs: np.ndarray) -> np.ndarray:
            copied, expected = np.array(obs), self.observation_space.shape  # the environment may reuse its array
            if copied.shape != expected:
                raise ValueError(f"it returned observations of shape {copied.shape}, and its space says {expected}")
            return copied

    with _attribute_errors(index):
        return CheckedEnv(make())


@contextlib.contextmanager
def _attribute_errors(index: int) -> Iterator[None]:
    """Turns errors of the block into a `SimulatorError` with this index."""
    try:
        yield
    except Exception as error:
        raise SimulatorError(described(error), index) from error
