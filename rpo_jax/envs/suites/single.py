"""One environment of Gymnasium: what it must be, its observations as vectors, and checks of all that it returns."""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rpo_jax.envs.pool import cut_where_broken
from rpo_jax.errors import SettingsError, SimulatorError, described

if TYPE_CHECKING:
    from gymnasium import Env

ATTEMPTS = 10  # to begin an episode with a finite observation
RETURNED = {"reset": 2, "step": 5}  # number of values that a method returns


def import_gymnasium() -> ModuleType:
    """Imports Gymnasium.

    Returns:
        The module.

    Raises:
        SettingsError: if it is not installed.
    """
    try:
        return importlib.import_module("gymnasium")
    except ModuleNotFoundError:
        raise SettingsError("environments of Gymnasium need it: pip install 'rpo_jax[gymnasium]'") from None


def flatten_observations(make: "Callable[[], Env]", name: str) -> "Callable[[], Env]":
    """Wraps a function that makes environments: their observations become vectors.

    Args:
        make: makes an environment.
        name: name of the environment.

    Returns:
        The function. It raises a `SettingsError` if there is no environment, or its observations are not vectors.
    """

    def make_flat() -> "Env":
        gymnasium, env = import_gymnasium(), make()
        if not isinstance(env, gymnasium.Env):
            raise SettingsError(f"the function that makes {name} returns {type(env).__name__}, and not a gymnasium.Env")
        check_interface(env)
        space: Any = env.observation_space
        if not _has_vectors(gymnasium.spaces, space):
            raise SettingsError(f"{name} has observations {space}, and RPO needs vectors of real numbers")
        if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
            return env
        return gymnasium.wrappers.FlattenObservation(env)

    return make_flat


def check_interface(env: "Env") -> None:
    """Makes an environment report that its methods are those of Gym, before its wrappers unpack what they return.

    Args:
        env: an environment of Gymnasium, in any wrappers.
    """
    for name, count in RETURNED.items():
        with contextlib.suppress(AttributeError):  # of an environment that cannot be given attributes
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


def check_actions(space: Any, name: str) -> None:
    """Checks that actions are vectors.

    Args:
        space: action space of an environment.
        name: name of the environment.

    Raises:
        SettingsError: if they are not.
    """
    if not isinstance(space, import_gymnasium().spaces.Box) or len(space.shape) != 1:
        raise SettingsError(
            f"{name} has actions {space}, and RPO needs a vector of real numbers: a one-dimensional Box"
        )


def check_distinct(envs: "Sequence[Env]", name: str) -> None:
    """Checks that environments are different objects, since one could not be stepped as several.

    Args:
        envs: environments, wrapped or not.
        name: name of the environment.

    Raises:
        SettingsError: if two of them are one and the same.
    """
    if len({id(env.unwrapped) for env in envs}) < len(envs):
        raise SettingsError(
            f"{name} is one and the same object each time that it is made, and rpo_jax steps many at once; the "
            "function must make a new environment on each call: lambda: MyEnv(), and not lambda: env"
        )


def as_actions(action: np.ndarray, space: Any) -> np.ndarray:
    """Converts actions to the type of an action space: to the nearest integer, if it is one of integers.

    Args:
        action: actions within the bounds [..., A] float32.
        space: the action space.

    Returns:
        The actions [..., A], within the bounds too.
    """
    return (action if np.issubdtype(space.dtype, np.floating) else np.rint(action)).astype(space.dtype)


def make_checked(make: "Callable[[], Env]", index: int) -> "Env":
    """Makes an environment that checks what it returns, and whose errors carry its index in the pool.

    Args:
        make: makes an environment with vector observations.
        index: position of the environment in its pool.

    Returns:
        The environment, with observations [O] and rewards as float32.

    Raises:
        SimulatorError: if the environment cannot be made; its methods raise it too.
    """
    gymnasium = import_gymnasium()

    class CheckedEnv(gymnasium.Wrapper):
        def __init__(self, env: "Env"):
            super().__init__(env)
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, env.observation_space.shape, np.float32)

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
                obs, reward, terminated, truncated, _ = super().step(action)
                ends = np.bool_(_number("terminated", terminated)), np.bool_(_number("truncated", truncated))
                return *cut_where_broken(self._copy(obs), _number("reward", reward), *ends), {}  # the info is not used

        def _copy(self, obs: Any) -> np.ndarray:
            expected = self.observation_space.shape
            if np.shape(obs) != expected:
                raise ValueError(f"it returned observations of shape {np.shape(obs)}, and its space says {expected}")
            with np.errstate(over="ignore"):
                return np.array(obs, np.float32)  # a copy, as the environment may reuse its array

    with _attribute_errors(index):
        return CheckedEnv(make())


def _has_vectors(spaces: ModuleType, space: Any) -> bool:
    """Whether the observations of a space can be made vectors, and are neither images nor text."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        inner = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return all(_has_vectors(spaces, part) for part in inner)
    if isinstance(space, spaces.Box):
        return space.dtype != np.uint8 or len(space.shape) < 2
    return isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary)


def _number(name: str, value: Any) -> float:
    """Returns a reward or a flag, which may be an array of one element, as a number."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"it returned {name}={value!r}, which must be a single number or bool")
    return float(array.item())


@contextlib.contextmanager
def _attribute_errors(index: int) -> Iterator[None]:
    """Turns errors of the block into a `SimulatorError` with this index."""
    try:
        yield
    except Exception as error:
        raise SimulatorError(described(error), index) from error
