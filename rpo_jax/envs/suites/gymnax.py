"""gymnax: classic control and other small tasks in JAX."""

import dataclasses
import importlib
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.envs.batching import Batching, batch_dynamics
from rpo_jax.envs.protocol import Dynamics, Environment, Successor
from rpo_jax.errors import SettingsError, one_line, unknown_name

# Observation and action size by id.
TASKS = {
    "MountainCarContinuous-v0": (2, 1),
    "Pendulum-v1": (3, 1),
    "PointRobot-misc": (6, 2),
    "Reacher-misc": (8, 2),
    "Swimmer-misc": (16, 2),
}
# How many times as fast a step is as with the other, on a CPU with 128 and 1024 environments (benchmarks/batching.py):
# "last" 0.9 to 1.2, and 1.0 to 1.2 with 1024; "components" is few kernels, for accelerators (benchmarks/compiled.py).
LARGEST = {int: np.iinfo(np.int32).max, float: float(np.finfo(np.float32).max)}  # numbers that JAX has


def make(env_id: str, /, *, batching: Batching | None = None, **parameters: float) -> Environment:
    """Makes a gymnax environment.

    Args:
        env_id: one of `TASKS`.
        batching: as of `vectorize`.
        **parameters: values of the environment's parameters that differ from their default, such as `g=5.0`;
            `max_episode_steps` is another name of `max_steps_in_episode`.

    Returns:
        The environment.

    Raises:
        SettingsError: if the environment is unknown, its actions are discrete, or a parameter is unknown, of another
            type or too large.
    """
    if env_id not in TASKS:
        raise _unusable(env_id)
    env, params = _gymnax().make(env_id)
    params = _with_parameters(params, parameters, f"gymnax/{env_id}")
    space = env.action_space(params)

    def init(key: jax.Array):
        obs, state = env.reset_env(key, params)
        return state, obs

    def step(key: jax.Array, state, action: jax.Array):
        obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return state, Successor(obs, jnp.asarray(reward, jnp.float32), terminated, env.is_truncated(state, params))

    return batch_dynamics(
        Dynamics(init, step),
        batching=batching,
        name=f"gymnax/{env_id}",
        observation_size=env.observation_space(params).shape[0],
        low=np.broadcast_to(np.asarray(space.low, np.float32), space.shape),
        high=np.broadcast_to(np.asarray(space.high, np.float32), space.shape),
        time_limit=int(params.max_steps_in_episode),
    )


class _ImportedOnUse(ModuleType):
    """Stands in for a module, which is imported as soon as something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks for these
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def _gymnax() -> Any:
    """Imports gymnax, but not seaborn, which would take a third of the time to import, and is for pictures of pong."""
    if "seaborn" in sys.modules:
        return importlib.import_module("gymnax")
    sys.modules["seaborn"] = _ImportedOnUse("seaborn")
    try:
        return importlib.import_module("gymnax")
    finally:
        del sys.modules["seaborn"]


def _with_parameters(params: Any, values: Mapping[str, Any], name: str) -> Any:
    """Returns gymnax's parameters with other values."""
    defaults = {field.name: getattr(params, field.name) for field in dataclasses.fields(params)}
    given = {("max_steps_in_episode" if own == "max_episode_steps" else own): value for own, value in values.items()}
    for own, value in given.items():
        if own not in defaults:
            raise unknown_name(f"parameter of {name}", own, [*defaults, "max_episode_steps"])
        kind = type(defaults[own])
        fits = isinstance(value, int | float if kind is float else kind)
        if not fits or isinstance(value, bool) != (kind is bool):
            raise SettingsError(f"{own}={value!r} of {name} must be of type {kind.__name__}, as {defaults[own]!r} is")
        if kind in LARGEST and abs(value) > LARGEST[kind]:
            most = f"{LARGEST[kind]:g}"
            raise SettingsError(f"{own}={one_line(value, 40)} of {name} is out of range: -{most} ... {most}")
    return params.replace(**given)


def _unusable(env_id: str) -> SettingsError:
    if env_id in _gymnax().registered_envs:
        return SettingsError(
            f"gymnax/{env_id} has discrete actions, and RPO needs continuous ones; gymnax has: {', '.join(TASKS)}"
        )
    return unknown_name("environment", f"gymnax/{env_id}", [f"gymnax/{known}" for known in TASKS])
