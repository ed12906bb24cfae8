"""Gymnasium: any environment that is registered there, and PyBullet's; stepped one after another in Python."""

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from rpo_jax.envs.host import Outcome, cut_where_broken, host_environment
from rpo_jax.envs.protocol import Environment
from rpo_jax.envs.quiet import quiet
from rpo_jax.errors import SettingsError, SimulatorError, unknown_name

ATTEMPTS = 10  # to begin an episode with an observation that is finite
# Modules that register environments when imported, and what installs them.
PROVIDERS = {"pybullet_envs_gymnasium": "pybullet-envs-gymnasium"}


def make(env_id: str) -> Environment:
    """The environment that Gymnasium has registered under that id; `module:id` imports a module that registers it.

    Args:
        env_id: such as "BipedalWalker-v3" or "AntBulletEnv-v0".

    Raises:
        SettingsError: if there is none, it needs a package that is not installed, or its actions or observations are
            not real vectors.
    """
    gymnasium = _load()
    _register(gymnasium, env_id)
    with quiet():
        return from_gymnasium(partial(_construct, gymnasium, env_id), name=f"gymnasium/{env_id}")


def from_gymnasium(make: Callable[[], Any], name: str) -> Environment:
    """Makes an Environment of a user's own Gymnasium environment.

    Args:
        make: gives a new `gymnasium.Env`, its observations a Box or a space that Gymnasium can flatten.
        name: what it is called in tables and errors.

    Raises:
        SettingsError: if its actions or observations are not real vectors.
    """
    gymnasium = _load()
    if not callable(make):
        raise SettingsError(f"{name} is a single environment, and a function that makes one is needed: lambda: MyEnv()")
    env = _flattened(make, name)()
    space, spec = env.action_space, env.spec
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise SettingsError(
            f"{name} has actions {space}, and RPO needs a vector of real numbers: a one-dimensional Box"
        )
    size = env.observation_space.shape[0]
    env.close()
    return host_environment(
        partial(GymnasiumPool, _flattened(make, name)),
        name=name,
        observation_size=size,
        low=np.asarray(space.low, np.float32),
        high=np.asarray(space.high, np.float32),
        time_limit=None if spec is None else spec.max_episode_steps,
    )


class GymnasiumPool:
    """Environments vectorised by Gymnasium, each reset in the step that ends it."""

    def __init__(self, make: Callable[[], Any], seeds: Sequence[int]):
        vector = _load().vector
        numbered = [partial(_numbered, make, index) for index in range(len(seeds))]
        self._envs = vector.SyncVectorEnv(numbered, autoreset_mode=vector.AutoresetMode.SAME_STEP)
        self._seeds = list(seeds)

    def reset(self) -> np.ndarray:
        """First observations [n, O]."""
        return self._envs.reset(seed=self._seeds)[0]

    def step(self, action: np.ndarray) -> Outcome:
        """One step of all."""
        obs, reward, terminated, truncated, info = self._envs.step(action.astype(self._envs.action_space.dtype))
        ended, final_obs = terminated | truncated, obs
        if ended.any():
            final_obs = obs.copy()
            final_obs[ended] = np.stack(info["final_obs"][ended])
        return Outcome(obs, reward, terminated, truncated, final_obs)

    def close(self) -> None:
        """Closes all."""
        self._envs.close()


def tasks() -> dict[str, tuple[int, int]]:
    """The latest versions of registered environments that can be made, with the sizes of observation and action."""
    gymnasium, sizes = _load(), {}
    _import_providers()
    for env_id, spec in list(gymnasium.registry.items()):
        if spec.namespace is None and f"{spec.name}-v{(spec.version or 0) + 1}" not in gymnasium.registry:
            with contextlib.suppress(SettingsError), quiet():
                env = make(env_id)
                sizes[env_id] = env.observation_size, env.action_size
    return sizes


def rendering(env_id: str) -> Any:
    """A single environment of Gymnasium that renders pictures, its observations flat.

    Raises:
        SettingsError: if there is none of that id, or it cannot be made.
    """
    gymnasium = _load()
    _register(gymnasium, env_id)
    return _flattened(partial(_construct, gymnasium, env_id, render_mode="rgb_array"), f"gymnasium/{env_id}")()


def _load() -> Any:
    try:
        return importlib.import_module("gymnasium")
    except ModuleNotFoundError:
        raise SettingsError("environments of Gymnasium need it: pip install 'rpo_jax[gymnasium]'") from None


def _register(gymnasium: Any, env_id: str) -> None:
    """Imports a provider that is installed where Gymnasium does not know the id."""
    if ":" in env_id or env_id in gymnasium.registry:
        return
    absent = _import_providers()
    if env_id in gymnasium.registry:
        return
    error = unknown_name("environment", f"gymnasium/{env_id}", [f"gymnasium/{known}" for known in gymnasium.registry])
    more = f"; more are in {' and '.join(absent)}, not installed here: pip install {' '.join(absent)}" if absent else ""
    raise SettingsError(f"{error}{more}")


def _import_providers() -> list[str]:
    """What of them is not installed."""
    absent = []
    for module, package in PROVIDERS.items():
        try:
            with quiet():
                importlib.import_module(module)
        except ModuleNotFoundError:
            absent.append(package)
    return absent


def _construct(gymnasium: Any, env_id: str, **options: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that are out of date
            return gymnasium.make(env_id, **options)
    except Exception as error:  # a simulator fails in its own way
        raise SettingsError(f"gymnasium/{env_id} cannot be made: {' '.join(str(error).split())}") from None


def _flattened(make: Callable[[], Any], name: str) -> Callable[[], Any]:
    """Makes environments whose observations are vectors."""

    def flat() -> Any:
        gymnasium, env = _load(), make()
        space = env.observation_space
        if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
            return env
        try:
            flat_space = gymnasium.spaces.flatten_space(space)
        except NotImplementedError:
            flat_space = None
        if not isinstance(flat_space, gymnasium.spaces.Box) or getattr(space, "dtype", None) == np.uint8:
            raise SettingsError(f"{name} has observations {space}, and RPO needs vectors of real numbers")
        return gymnasium.wrappers.FlattenObservation(env)

    return flat


def _numbered(make: Callable[[], Any], index: int) -> Any:
    """An environment whose errors say which it is."""
    gymnasium = _load()

    class Numbered(gymnasium.Wrapper):
        def reset(self, **options: Any) -> Any:
            with _blamed(index):
                for _ in range(ATTEMPTS):
                    obs = self._copied(super().reset(**options)[0])
                    if np.isfinite(obs).all():
                        return obs, {}
                    options = {}  # the next of its random numbers
                raise ValueError("its first observations are not finite")

        def step(self, action: Any) -> Any:
            with _blamed(index):
                obs, reward, *ends, _ = super().step(action)
                results = self._copied(obs), float(np.asarray(reward).item()), *map(np.bool_, ends)
                return *cut_where_broken(*results), {}  # nobody reads the rest

        def _copied(self, obs: Any) -> np.ndarray:
            copied, expected = np.array(obs), self.observation_space.shape  # it may fill the same array again
            if copied.shape != expected:
                raise ValueError(f"it gave observations of shape {copied.shape}, and its space says {expected}")
            return copied

    with _blamed(index):
        return Numbered(make())


@contextlib.contextmanager
def _blamed(index: int) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise SimulatorError(f"{type(error).__name__}: {error}", index) from error
