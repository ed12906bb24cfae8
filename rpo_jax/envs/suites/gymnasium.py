"""Gymnasium: any registered environment, also those of PyBullet, stepped one after another in Python."""

import contextlib
import importlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rpo_jax.envs.host import host_environment
from rpo_jax.envs.pool import Outcome, cut_where_broken
from rpo_jax.envs.protocol import Environment
from rpo_jax.envs.quiet import quiet
from rpo_jax.errors import SettingsError, SimulatorError, described, one_line, unknown_name

if TYPE_CHECKING:
    from gymnasium import Env

INTERFACE = "does not return {}: it has the interface of Gym before 0.26, and Gymnasium's is needed"
ATTEMPTS = 10  # to begin an episode with a finite observation
# Packages whose modules register environments when imported, by the name of the module.
PROVIDERS = {"pybullet_envs_gymnasium": "pybullet-envs-gymnasium"}


def module_of(name: str) -> str | None:
    """Returns the module that making an environment imports because its name says so.

    Args:
        name: suite and id of any environment, such as "gymnasium/module:Env-v0".

    Returns:
        The module, such as "module"; None if the name has none.
    """
    suite, _, env_id = name.partition("/")
    return env_id.partition(":")[0] if suite == "gymnasium" and ":" in env_id else None


def make(env_id: str) -> Environment:
    """Makes an environment that is registered with Gymnasium.

    Args:
        env_id: such as "BipedalWalker-v3" or "AntBulletEnv-v0"; "module:id" imports a module that registers it.

    Returns:
        The environment.

    Raises:
        SettingsError: if the environment is unknown, it needs a package that is not installed, or its actions or
            observations are not real vectors.
    """
    gymnasium = _import_gymnasium()
    _register(gymnasium, env_id)
    with quiet():
        return from_gymnasium(partial(_construct, gymnasium, env_id), name=f"gymnasium/{env_id}")


def from_gymnasium(make: "Callable[[], Env]", name: str) -> Environment:
    """Makes an Environment from a Gymnasium environment of your own.

    Args:
        make: makes a new `gymnasium.Env` whose observation space is a Box, or can be flattened to one by Gymnasium.
        name: name of the environment in tables and error messages.

    Returns:
        The environment.

    Raises:
        SettingsError: if its actions or observations are not real vectors, or Gymnasium is not installed.
    """
    gymnasium = _import_gymnasium()
    if not callable(make):
        raise SettingsError(f"{name} is a single environment, and a function that makes one is needed: lambda: MyEnv()")
    env = _flatten_observations(make, name)()
    space: Any = env.action_space
    spec = env.spec
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise SettingsError(
            f"{name} has actions {space}, and RPO needs a vector of real numbers: a one-dimensional Box"
        )
    size = math.prod(env.observation_space.shape or ())
    env.close()
    return host_environment(
        partial(GymnasiumPool, _flatten_observations(make, name)),
        name=name,
        observation_size=size,
        low=np.asarray(space.low, np.float32),
        high=np.asarray(space.high, np.float32),
        time_limit=None if spec is None else spec.max_episode_steps,
    )


class GymnasiumPool:
    """A `Pool` of environments vectorised by Gymnasium, reset in the same step that ends an episode."""

    def __init__(self, make: "Callable[[], Env]", seeds: Sequence[int]):
        """Opens the environments.

        Args:
            make: makes one environment with vector observations.
            seeds: seed of each environment.
        """
        vector = _import_gymnasium().vector
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


def tasks() -> dict[str, tuple[int, int]]:
    """Lists the latest version of each registered environment that `make` accepts.

    Returns:
        Observation and action size by id.

    Raises:
        SettingsError: if Gymnasium is not installed.
    """
    gymnasium, sizes = _import_gymnasium(), {}
    _import_providers()
    for env_id, spec in list(gymnasium.registry.items()):
        if spec.namespace is None and f"{spec.name}-v{(spec.version or 0) + 1}" not in gymnasium.registry:
            with contextlib.suppress(SettingsError), quiet():
                env = make(env_id)
                sizes[env_id] = env.observation_size, env.action_size
    return sizes


def make_renderable(env_id: str) -> "Env":
    """Makes a single Gymnasium environment with vector observations that renders images.

    Args:
        env_id: as of `make`.

    Returns:
        Gymnasium's environment.

    Raises:
        SettingsError: if the environment is unknown, or cannot be made.
    """
    gymnasium = _import_gymnasium()
    _register(gymnasium, env_id)
    return _flatten_observations(
        partial(_construct, gymnasium, env_id, render_mode="rgb_array"), f"gymnasium/{env_id}"
    )()


def _import_gymnasium() -> ModuleType:
    try:
        return importlib.import_module("gymnasium")
    except ModuleNotFoundError:
        raise SettingsError("environments of Gymnasium need it: pip install 'rpo_jax[gymnasium]'") from None


def _register(gymnasium: ModuleType, env_id: str) -> None:
    """Imports the installed providers if Gymnasium does not know the id."""
    if ":" in env_id or env_id in gymnasium.registry:
        return
    absent = _import_providers()
    if env_id in gymnasium.registry:
        return
    error = unknown_name("environment", f"gymnasium/{env_id}", [f"gymnasium/{known}" for known in gymnasium.registry])
    more = f"; more are in {' and '.join(absent)}, not installed here: pip install {' '.join(absent)}" if absent else ""
    raise SettingsError(f"{error}{more}")


def _import_providers() -> list[str]:
    """Imports the installed providers; returns the packages of the others."""
    absent = []
    for module, package in PROVIDERS.items():
        try:
            with quiet():
                importlib.import_module(module)
        except ModuleNotFoundError:
            absent.append(package)
    return absent


def _construct(gymnasium: ModuleType, env_id: str, **options: str) -> "Env":
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about outdated versions
            return gymnasium.make(env_id, **options)
    except Exception as error:  # simulators raise all kinds of errors
        raise SettingsError(f"gymnasium/{env_id} cannot be made: {one_line(error, 300)}") from None


def _flatten_observations(make: "Callable[[], Env]", name: str) -> "Callable[[], Env]":
    """Wraps a function that makes environments: their observations become vectors."""

    def make_flat() -> "Env":
        gymnasium, env = _import_gymnasium(), make()
        space: Any = env.observation_space
        if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
            return env
        try:
            flat_space = gymnasium.spaces.flatten_space(space)
        except NotImplementedError:
            flat_space = None
        if not isinstance(flat_space, gymnasium.spaces.Box) or getattr(space, "dtype", None) == np.uint8:
            raise SettingsError(f"{name} has observations {space}, and RPO needs vectors of real numbers")
        return gymnasium.wrappers.FlattenObservation(env)

    return make_flat


def _make_checked(make: "Callable[[], Env]", index: int) -> "Env":
    """Makes an environment that checks its observations, and whose errors carry its index in the pool."""
    gymnasium = _import_gymnasium()

    class CheckedEnv(gymnasium.Wrapper):
        def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
            with _attribute_errors(index):
                for _ in range(ATTEMPTS):
                    first = super().reset(**options)
                    if not isinstance(first, tuple) or len(first) != 2:
                        raise TypeError(f"its reset {INTERFACE.format('an observation and a dictionary')}")
                    obs = self._copy(first[0])
                    if np.isfinite(obs).all():
                        return obs, {}
                    options = {}  # no seed, so that the next reset differs
                raise ValueError("its first observations are not finite")

        def step(self, action: np.ndarray) -> tuple[Any, ...]:
            with _attribute_errors(index):
                result = super().step(action)
                if not isinstance(result, tuple) or len(result) != 5:
                    raise TypeError(f"its step {INTERFACE.format('five values')}")
                obs, reward, *ends, _ = result
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
