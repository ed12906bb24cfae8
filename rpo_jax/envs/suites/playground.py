"""MuJoCo Playground: the tasks of the DeepMind Control Suite in MJX, for thousands of environments on a GPU."""

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.envs.batching import Batching, batch_dynamics
from rpo_jax.envs.own_devices import on_own_devices
from rpo_jax.envs.protocol import Dynamics, Environment, Successor
from rpo_jax.envs.quiet import quiet
from rpo_jax.envs.remembered import remember
from rpo_jax.envs.tracing import traced
from rpo_jax.errors import SettingsError, unknown_name
from rpo_jax.keys import key_shape

# How many times as fast a step is as with the other, on a CPU with 128 and 1024 environments (benchmarks/batching.py):
# CartpoleBalance 1.7. Not measured on a GPU.
BATCHING: Batching = "last"


class PlaygroundState(Protocol):
    """The fields of `mujoco_playground.State` that are used here."""

    data: Any
    obs: jax.Array
    reward: jax.Array
    done: jax.Array


class PlaygroundEnvironment(Protocol):
    """The members of `mujoco_playground.MjxEnv` that are used here; `dt` is in seconds per step."""

    action_size: int
    dt: float
    reset: Callable[[jax.Array], PlaygroundState]
    step: Callable[[PlaygroundState, jax.Array], PlaygroundState]
    render: Callable[..., Sequence[np.ndarray]]


@remember
def make(name: str, /, *, batching: Batching = BATCHING) -> Environment:
    """Makes a Playground environment, stepped by MJX.

    Episodes are truncated after the task's own number of steps, and terminate only if the simulation becomes
    non-finite.

    Args:
        name: such as "CartpoleBalance".
        batching: as of `vectorize`.

    Returns:
        The environment.

    Raises:
        SettingsError: if the environment is unknown, or Playground is not installed.
    """
    suite = _import_suite()
    if name not in suite.ALL_ENVS:
        raise unknown_name("environment", f"playground/{name}", [f"playground/{known}" for known in suite.ALL_ENVS])
    with quiet(), on_own_devices():
        env = load(name)
        reset, move = traced(env.reset), on_own_devices()(env.step)
        template = jax.eval_shape(reset, key_shape())
    limit = int(suite.get_default_config(name).episode_length)

    def init(key: jax.Array):
        state = reset(key)
        return (state, jnp.zeros((), jnp.int32)), state.obs

    def step(key: jax.Array, carried, action: jax.Array):
        state, time = move(carried[0], action), carried[1] + 1
        return (state, time), Successor(state.obs, state.reward, state.done > 0, time >= limit)

    bound = np.ones(env.action_size, np.float32)
    return batch_dynamics(
        Dynamics(init, step),
        batching=batching,
        name=f"playground/{name}",
        observation_size=template.obs.shape[0],
        low=-bound,
        high=bound,
        time_limit=limit,
        shown=lambda carried: (carried[0].data.qpos, carried[0].data.mocap_pos, carried[0].data.mocap_quat),
    )


def load(name: str) -> PlaygroundEnvironment:
    """Loads a single environment as Playground defines it.

    Args:
        name: such as "CartpoleBalance".

    Returns:
        Playground's environment.

    Raises:
        SettingsError: if Playground is not installed.
    """
    return _import_suite().load(name, config_overrides={"impl": "jax"})


def tasks() -> dict[str, tuple[int, int]]:
    """Lists all tasks.

    Returns:
        Observation and action size by name.

    Raises:
        SettingsError: if Playground is not installed.
    """
    envs = {name: make(name) for name in _import_suite().ALL_ENVS}
    return {name: (env.observation_size, env.action_size) for name, env in envs.items()}


def _import_suite() -> ModuleType:
    try:
        with quiet():
            return importlib.import_module("mujoco_playground").dm_control_suite
    except (ModuleNotFoundError, AttributeError):  # from version 1 on it is a different package
        raise SettingsError(
            "environments of MuJoCo Playground need its JAX release: pip install 'rpo_jax[playground]'"
        ) from None
