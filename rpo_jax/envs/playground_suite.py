"""MuJoCo Playground: the tasks of DeepMind Control, and robots, in MJX; made for thousands of environments on a GPU."""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.envs.brax_suite import quiet
from rpo_jax.envs.protocol import Dynamics, Environment, Successor, vectorize
from rpo_jax.errors import SettingsError, unknown_name


def make(name: str) -> Environment:
    """The Playground environment of that name, stepped by MJX in JAX.

    An episode is truncated after the task's own number of steps; what the task itself calls done terminates it (in the
    tasks of DeepMind Control only a simulation that is no longer finite). Observations of several parts are put
    together in the suite's own order.

    Args:
        name: such as "CartpoleBalance".

    Raises:
        SettingsError: if there is none, or Playground is not installed.
    """
    registry = _load()
    if name not in registry.ALL_ENVS:
        raise unknown_name("environment", f"playground/{name}", [f"playground/{known}" for known in registry.ALL_ENVS])
    with quiet():
        config = registry.get_default_config(name)
        env = registry.load(name, config_overrides={"impl": "jax"})
        reset = jax.jit(env.reset)  # traced once
        template = jax.eval_shape(reset, jax.random.key(0))
    repeats, limit = int(config.action_repeat), int(config.episode_length)

    def init(key: jax.Array):
        state = reset(key)
        return (state, jnp.zeros((), jnp.int32)), _flat(state.obs)

    def step(key: jax.Array, carried, action: jax.Array):
        state, time = carried
        for _ in range(repeats):
            state = env.step(state, action)
        time = time + 1
        return (state, time), Successor(_flat(state.obs), state.reward, state.done > 0, time * repeats >= limit)

    bound = np.ones(env.action_size, np.float32)
    return vectorize(
        Dynamics(init, step),
        name=f"playground/{name}",
        observation_size=jax.eval_shape(_flat, template.obs).shape[0],
        low=-bound,
        high=bound,
        time_limit=-(-limit // repeats),
    )


def tasks() -> dict[str, tuple[int, int]]:
    """The tasks of DeepMind Control, with the sizes of observation and action."""
    registry = _load()
    envs = {name: make(name) for name in registry.dm_control_suite.ALL_ENVS}
    return {name: (env.observation_size, env.action_size) for name, env in envs.items()}


def _load() -> Any:
    try:
        with quiet():
            return importlib.import_module("mujoco_playground").registry
    except ModuleNotFoundError:
        raise SettingsError("environments of MuJoCo Playground need it: pip install 'rpo_jax[playground]'") from None


def _flat(obs: Any) -> jax.Array:
    return jnp.concatenate([jnp.ravel(part) for part in obs.values()]) if isinstance(obs, dict) else obs
