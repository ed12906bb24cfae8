"""How runs and their environments are divided between devices, and the axis of environments split and joined."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.config import TrainConfig
from rpo_jax.algorithm.types import TrainingState

# The fields of a state that have an axis of environments, and which it is.
_ENVIRONMENT_AXES = {"env_state": -1, "obs": 0, "discounted_return": 0}


class Layout(NamedTuple):
    """How runs are sharded over devices.

    Attributes:
        groups: groups of devices; each group has its own runs.
        shares: devices in a group; each has an equal share of the environments of every run of the group.
    """

    groups: int
    shares: int


def lay_out(num_runs: int, config: TrainConfig, num_devices: int) -> Layout:
    """Chooses a layout: as many groups as there are runs, if possible, then as many equal shares as possible.

    Args:
        num_runs: number of runs, R.
        config: static settings, which limit how environments can be divided.
        num_devices: number of devices.

    Returns:
        The layout; it may leave devices unused.
    """
    groups = min(num_runs, num_devices)
    divisible = config.num_envs // config.num_minibatches
    if config.shuffle == "samples":
        divisible = np.gcd(config.num_envs, config.round_timesteps // config.num_minibatches)
    shares = next(share for share in range(num_devices // groups, 0, -1) if divisible % share == 0)
    return Layout(groups, shares)


def numpy_of(x: Any) -> Any:
    """Returns `jnp` if `x` is an array of JAX, such as of random keys, and `np` otherwise."""
    return jnp if isinstance(x, jax.Array) else np


def split_environments(state: TrainingState, layout: Layout) -> TrainingState:
    """Gives each device of a group its share of the environments, and a copy of the rest.

    Args:
        state: of the runs of all groups, NumPy leaves [groups * K, ...], or random keys.
        layout: groups of devices, and devices in a group.

    Returns:
        States by device, leaves [groups * shares * K, ...].
    """
    groups, shares = layout

    def replicate(x: Any) -> Any:
        x = x.reshape((groups, 1, -1, *x.shape[1:]))
        return numpy_of(x).broadcast_to(x, (groups, shares, *x.shape[2:])).reshape((-1, *x.shape[3:]))

    def split(axis: int, x: Any) -> Any:
        before, after = x.shape[1:][:axis], x.shape[1:][axis:][1:]
        x = x.reshape((groups, -1, *before, shares, x.shape[1:][axis] // shares, *after))
        x = numpy_of(x).moveaxis(x, 2 + len(before), 1)  # [groups, shares, K, before, N / shares, after]
        return x.reshape((-1, *x.shape[3:]))

    parts = {name: jax.tree.map(partial(split, axis), getattr(state, name)) for name, axis in _ENVIRONMENT_AXES.items()}
    return jax.tree.map(replicate, state).replace(**parts)


def join_environments(state: TrainingState, layout: Layout) -> TrainingState:
    """Joins the devices' shares of the environments, and takes the rest from the first device of each group.

    Args:
        state: by device, leaves [groups * shares * K, ...].
        layout: groups of devices, and devices in a group.

    Returns:
        States of the runs, leaves [groups * K, ...].
    """
    groups, shares = layout
    if shares == 1:
        return state

    def take_first(x: Any) -> Any:
        return x.reshape((groups, shares, -1, *x.shape[1:]))[:, 0].reshape((-1, *x.shape[1:]))

    def join(axis: int, x: Any) -> Any:
        x = x.reshape((groups, shares, -1, *x.shape[1:]))
        before, after = x.shape[3:][:axis], x.shape[3:][axis:][1:]
        x = numpy_of(x).moveaxis(x, 1, 2 + len(before))  # [groups, K, before, shares, N / shares, after]
        return x.reshape((groups * x.shape[1], *before, -1, *after))

    parts = {name: jax.tree.map(partial(join, axis), getattr(state, name)) for name, axis in _ENVIRONMENT_AXES.items()}
    return jax.tree.map(take_first, state).replace(**parts)
