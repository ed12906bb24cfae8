"""EnvPool: MuJoCo, DeepMind Control, Box2D and classic control, stepped by C++ threads."""

import contextlib
import importlib
import math
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any, Protocol

import jax
import numpy as np

from rpo_jax.compiling.cores import num_cores
from rpo_jax.envs.host import host_environment
from rpo_jax.envs.pool import Outcome, cut_where_broken
from rpo_jax.envs.protocol import Environment
from rpo_jax.errors import MOST_WORDS, SettingsError, one_line, unknown_name

_NOT_ACTIONS = {"env_id", "players.env_id"}


class ArraySpec(Protocol):
    """The members of EnvPool's description of an array that are used here."""

    shape: tuple[int, ...]
    dtype: np.dtype
    minimum: float | np.ndarray
    maximum: float | np.ndarray


class EnvSpec(Protocol):
    """The members of EnvPool's specification of an environment that are used here."""

    config: Any
    action_array_spec: dict[str, ArraySpec]
    state_array_spec: dict[str, ArraySpec]


def make(env_id: str, num_threads: int | None = None) -> Environment:
    """Makes an EnvPool environment; dictionary observations are concatenated in the order of its specification.

    Args:
        env_id: such as "HopperHop-v1" or "Ant-v4".
        num_threads: threads of the pool of each device; if None, the cores are divided among the devices.

    Returns:
        The environment.

    Raises:
        SettingsError: if the environment is unknown, EnvPool is not installed, actions or observations are not real
            vectors, or `num_threads` is not 1 or more.
    """
    if num_threads is not None and num_threads < 1:
        raise SettingsError(f"num_threads={num_threads} is out of range: it must be 1 or more")
    spec = _make_spec(env_id)
    action, sizes = _action_spec(env_id, spec), observation_sizes(env_id, spec)
    low, high = (np.broadcast_to(x, action.shape[-1:]) for x in (action.minimum, action.maximum))
    return host_environment(
        partial(EnvPool, env_id, sizes, num_threads),
        name=f"envpool/{env_id}",
        observation_size=sum(sizes.values()),
        low=low,
        high=high,
        time_limit=spec.config.max_episode_steps,
    )


class EnvPool:
    """A `Pool` of EnvPool environments, reset in the same step that ends an episode.

    EnvPool itself resets them in the next call, in which the action is ignored.
    """

    def __init__(self, env_id: str, sizes: dict[str, int], num_threads: int | None, seeds: Sequence[int]):
        """Opens the environments.

        Args:
            env_id: such as "HopperHop-v1".
            sizes: length of each observation by name, in order.
            num_threads: threads of the pool; if None, the cores are divided among the devices.
            seeds: seed of each environment.
        """
        threads = num_threads or max(1, num_cores() // jax.local_device_count())
        self._pool = _import_envpool().make_gymnasium(
            env_id, num_envs=len(seeds), seed=list(seeds), num_threads=min(threads, len(seeds))
        )
        self._sizes = sizes
        self._env_ids = np.arange(len(seeds), dtype=np.int32)
        self._action_type = _action_spec(env_id, self._pool.spec).dtype

    def reset(self) -> np.ndarray:
        """Begins an episode in every environment and returns the first observations [n, O]."""
        return flatten(self._pool.reset()[0], self._sizes)

    def step(self, action: np.ndarray) -> Outcome:
        """Steps every environment, and resets those whose episode ends.

        Args:
            action: actions within the bounds [n, A] float32.

        Returns:
            The result of the step.
        """
        obs, *results = self._step(action)
        final_obs, reward, terminated, truncated = cut_where_broken(flatten(obs, self._sizes), *results)
        obs, has_ended = final_obs, terminated | truncated
        if has_ended.any():
            ended = np.flatnonzero(has_ended).astype(np.int32)
            obs = final_obs.copy()
            first, info = self._pool.reset(ended)
            obs[info["env_id"]] = flatten(first, self._sizes)
        return Outcome(obs, reward, terminated, truncated, final_obs)

    def _step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
        """Does what EnvPool's own `step` does, without its Python: 25 microseconds, where 4 simple simulators take 60.

        Returns:
            Observations, rewards, and whether the task or the time limit ended an episode.
        """
        self._pool._send([self._env_ids, self._env_ids, action.astype(self._action_type, order="C")])
        state = dict(zip(self._pool._state_keys, self._pool._recv(), strict=True))
        obs = state["obs"] if "obs" in state else {name: state[f"obs:{name}"] for name in self._sizes}
        return obs, state["reward"], state["done"] & ~state["trunc"], state["trunc"]

    def close(self) -> None:
        """Stops the threads of the pool."""
        self._pool.close()
        del self._pool


def flatten(obs: np.ndarray | dict[str, np.ndarray], sizes: dict[str, int]) -> np.ndarray:
    """Joins the observations of n environments to vectors.

    Args:
        obs: observations by name, each [n, ...], or an array [n, ...].
        sizes: length of each observation by name, in order, from `observation_sizes`.

    Returns:
        Observations [n, O] float32.
    """
    if not isinstance(obs, dict):
        return np.asarray(obs, np.float32).reshape(len(obs), -1)
    return np.concatenate([obs[name].reshape(len(obs[name]), -1) for name in sizes], axis=-1, dtype=np.float32)


def tasks() -> dict[str, tuple[int, int]]:
    """Lists all environments that `make` accepts; takes some seconds.

    Returns:
        Observation and action size by id.

    Raises:
        SettingsError: if EnvPool is not installed.
    """
    sizes = {}
    for env_id in _import_envpool().list_all_envs():
        with contextlib.suppress(SettingsError):
            spec = _make_spec(env_id)
            sizes[env_id] = sum(observation_sizes(env_id, spec).values()), _action_spec(env_id, spec).shape[-1]
    return sizes


def _import_envpool() -> ModuleType:
    try:
        return importlib.import_module("envpool")
    except ModuleNotFoundError:
        raise SettingsError("environments of EnvPool need it: pip install 'rpo_jax[envpool]'") from None


def _make_spec(env_id: str) -> EnvSpec:
    envpool = _import_envpool()
    if env_id not in envpool.list_all_envs():
        raise unknown_name(
            "environment", f"envpool/{env_id}", [f"envpool/{known}" for known in envpool.list_all_envs()]
        )
    try:
        return envpool.make_spec(env_id)
    except (ImportError, RuntimeError) as error:
        raise SettingsError(f"envpool/{env_id} cannot be made: {one_line(error, MOST_WORDS)}") from None


def _action_spec(env_id: str, spec: EnvSpec) -> ArraySpec:
    actions = [array for name, array in spec.action_array_spec.items() if name not in _NOT_ACTIONS]
    if len(actions) != 1 or not np.issubdtype(actions[0].dtype, np.floating) or spec.config.max_num_players != 1:
        raise SettingsError(f"envpool/{env_id} has discrete actions or several players, and RPO needs continuous ones")
    return actions[0]


def observation_sizes(env_id: str, spec: EnvSpec | None = None) -> dict[str, int]:
    """Finds the length of each observation by name, in the order of the specification.

    Args:
        env_id: as of `make`.
        spec: its specification, if known.

    Returns:
        Lengths by name.

    Raises:
        SettingsError: if the environment is unknown, or has images as observations.
    """
    spec = spec or _make_spec(env_id)
    arrays = {name: array for name, array in spec.state_array_spec.items() if name.partition(":")[0] == "obs"}
    if any(len(array.shape) > 2 or array.dtype == np.uint8 for array in arrays.values()):
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        raise SettingsError(f"envpool/{env_id} has images as observations, and RPO needs vectors: {shapes}")
    return {name.partition(":")[2]: math.prod(array.shape) for name, array in arrays.items()}
