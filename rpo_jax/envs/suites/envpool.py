"""EnvPool: MuJoCo, DeepMind Control, Box2D and classic control, stepped by threads in C++."""

import contextlib
import importlib
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from rpo_jax.compiling.cores import num_cores
from rpo_jax.envs.host import Outcome, cut_where_broken, host_environment
from rpo_jax.envs.protocol import Environment
from rpo_jax.errors import SettingsError, unknown_name

_NOT_ACTIONS = {"env_id", "players.env_id"}


def make(env_id: str, num_threads: int | None = None) -> Environment:
    """The EnvPool environment of that id; dictionary observations are flattened in the order of its specification.

    Args:
        env_id: such as "HopperHop-v1" or "Ant-v4".
        num_threads: of each pool, and each device has one; if None, the cores are shared out among the devices.

    Raises:
        SettingsError: if there is none, it is not installed, its actions or observations are not real vectors, or
            `num_threads` is not 1 or more.
    """
    if num_threads is not None and num_threads < 1:
        raise SettingsError(f"num_threads={num_threads} is out of range: it must be 1 or more")
    spec = _spec(env_id)
    action, sizes = _action(env_id, spec), _observation_sizes(env_id, spec)
    low, high = (np.broadcast_to(np.float32(x), action.shape[-1:]) for x in (action.minimum, action.maximum))
    return host_environment(
        partial(EnvPool, env_id, sizes, num_threads),
        name=f"envpool/{env_id}",
        observation_size=sum(sizes.values()),
        low=low,
        high=high,
        time_limit=spec.config.max_episode_steps,
    )


class EnvPool:
    """A pool of EnvPool's, those that end reset at once: by itself it would do so at the step after, which is none."""

    def __init__(self, env_id: str, sizes: dict[str, int], num_threads: int | None, seeds: Sequence[int]):
        threads = num_threads or max(1, num_cores() // jax.local_device_count())
        self._pool = _load().make_gymnasium(
            env_id, num_envs=len(seeds), seed=list(seeds), num_threads=min(threads, len(seeds))
        )
        self._sizes = sizes

    def reset(self) -> np.ndarray:
        """First observations [n, O]."""
        return self._flat(self._pool.reset()[0])

    def step(self, action: np.ndarray) -> Outcome:
        """One step of all."""
        obs, *results, _ = self._pool.step(action)
        final_obs, reward, terminated, truncated = cut_where_broken(self._flat(obs), *results)
        obs = final_obs
        ended = np.flatnonzero(terminated | truncated).astype(np.int32)
        if len(ended):
            obs = final_obs.copy()
            first, info = self._pool.reset(ended)
            obs[info["env_id"]] = self._flat(first)
        return Outcome(obs, reward, terminated, truncated, final_obs)

    def close(self) -> None:
        """Ends its threads, which live as long as it does."""
        self._pool.close()
        del self._pool

    def _flat(self, obs: Any) -> np.ndarray:
        if not isinstance(obs, dict):
            return np.asarray(obs, np.float32).reshape(len(obs), -1)
        return np.concatenate(
            [obs[name].reshape(len(obs[name]), -1) for name in self._sizes], axis=-1, dtype=np.float32
        )


def tasks() -> dict[str, tuple[int, int]]:
    """All environments that can be made, with the sizes of observation and action; takes some seconds."""
    sizes = {}
    for env_id in _load().list_all_envs():
        with contextlib.suppress(SettingsError):
            spec = _spec(env_id)
            sizes[env_id] = sum(_observation_sizes(env_id, spec).values()), _action(env_id, spec).shape[-1]
    return sizes


def _load() -> Any:
    try:
        return importlib.import_module("envpool")
    except ModuleNotFoundError:
        raise SettingsError("environments of EnvPool need it: pip install 'rpo_jax[envpool]'") from None


def _spec(env_id: str) -> Any:
    envpool = _load()
    if env_id not in envpool.list_all_envs():
        raise unknown_name(
            "environment", f"envpool/{env_id}", [f"envpool/{known}" for known in envpool.list_all_envs()]
        )
    try:
        return envpool.make_spec(env_id)
    except (ImportError, RuntimeError) as error:
        raise SettingsError(f"envpool/{env_id} cannot be made: {' '.join(str(error).split())}") from None


def _action(env_id: str, spec: Any) -> Any:
    """The specification of its action."""
    actions = [array for name, array in spec.action_array_spec.items() if name not in _NOT_ACTIONS]
    if len(actions) != 1 or not np.issubdtype(actions[0].dtype, np.floating) or spec.config.max_num_players != 1:
        raise SettingsError(f"envpool/{env_id} has discrete actions or several players, and RPO needs continuous ones")
    return actions[0]


def _observation_sizes(env_id: str, spec: Any) -> dict[str, int]:
    """Numbers in each of its observations, by name in the suite's own order."""
    arrays = {name: array for name, array in spec.state_array_spec.items() if name.partition(":")[0] == "obs"}
    if any(len(array.shape) > 2 or array.dtype == np.uint8 for array in arrays.values()):
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        raise SettingsError(f"envpool/{env_id} has pictures for observations, and RPO needs vectors: {shapes}")
    return {name.partition(":")[2]: math.prod(array.shape) for name, array in arrays.items()}
