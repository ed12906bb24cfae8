"""MuJoCo Playground: the tasks of DeepMind Control in MJX, made for thousands of environments on a GPU."""

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.compiling.jit import jit
from rpo_jax.envs.protocol import BATCHING, Batching, Dynamics, Environment, Successor, vectorize
from rpo_jax.envs.quiet import quiet
from rpo_jax.errors import SettingsError, unknown_name


def make(name: str, *, batching: Batching = BATCHING["playground"]) -> Environment:
    """The Playground environment of that name, stepped by MJX in JAX.

    An episode is truncated after the task's own number of steps, and terminated only by a simulation that is no longer
    finite.

    Args:
        name: such as "CartpoleBalance".
        batching: as of `vectorize`.

    Raises:
        SettingsError: if there is none, or Playground is not installed.
    """
    suite = _load()
    if name not in suite.ALL_ENVS:
        raise unknown_name("environment", f"playground/{name}", [f"playground/{known}" for known in suite.ALL_ENVS])
    with quiet():
        env = single(name)
        reset = jit(env.reset)  # traced once
        template = jax.eval_shape(reset, jax.random.key(0))
    limit = int(suite.get_default_config(name).episode_length)

    def init(key: jax.Array):
        state = reset(key)
        return (state, jnp.zeros((), jnp.int32)), state.obs

    def step(key: jax.Array, carried, action: jax.Array):
        state, time = env.step(carried[0], action), carried[1] + 1
        return (state, time), Successor(state.obs, state.reward, state.done > 0, time >= limit)

    bound = np.ones(env.action_size, np.float32)
    return vectorize(
        Dynamics(init, step),
        batching=batching,
        name=f"playground/{name}",
        observation_size=template.obs.shape[0],
        low=-bound,
        high=bound,
        time_limit=limit,
    )


def single(name: str) -> Any:
    """Playground's own environment of that name."""
    return _load().load(name, config_overrides={"impl": "jax"})


def tasks() -> dict[str, tuple[int, int]]:
    """All tasks, with the sizes of observation and action."""
    envs = {name: make(name) for name in _load().ALL_ENVS}
    return {name: (env.observation_size, env.action_size) for name, env in envs.items()}


def _load() -> Any:
    try:
        with quiet():
            return importlib.import_module("mujoco_playground").dm_control_suite
    except (ModuleNotFoundError, AttributeError):  # from version 1 on it is another package
        raise SettingsError(
            "environments of MuJoCo Playground need its JAX release: pip install 'rpo_jax[playground]'"
        ) from None
