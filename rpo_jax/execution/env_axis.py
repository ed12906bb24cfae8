"""How runs and their environments are divided between devices, and the axis of environments split and joined."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.axes import join_axis, split_axis
from rpo_jax.algorithm.config import TrainConfig
from rpo_jax.algorithm.types import TrainingState
from rpo_jax.execution.batches import numpy_of

# The fields of a state of several runs that have an axis of environments, and which it is.
_ENVIRONMENT_AXES = {"env_state": -1, "obs": 1, "discounted_return": 1}


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


def split_environments(state: TrainingState, layout: Layout) -> TrainingState:
    """Gives each device of a group its share of the environments, and a copy of the rest.

    Args:
        state: of the runs of all groups, NumPy leaves [groups * K, ...], or random keys.
        layout: groups of devices, and devices in a group.

    Returns:
        States by device, leaves [groups * shares * K, ...].
    """
    groups, shares = layout

    def by_device(x: Any) -> Any:  # [shares, groups * K, ...]
        x = x.reshape((shares, groups, -1, *x.shape[2:])).swapaxes(0, 1)
        return x.reshape((-1, *x.shape[3:]))

    def replicate(x: Any) -> Any:
        return by_device(numpy_of(x).broadcast_to(x, (shares, *x.shape)))

    def split(axis: int, x: Any) -> Any:
        return by_device(split_axis(x, axis, shares))

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

    def by_share(x: Any) -> Any:  # [shares, groups * K, ...]
        x = x.reshape((groups, shares, -1, *x.shape[1:])).swapaxes(0, 1)
        return x.reshape((shares, -1, *x.shape[3:]))

    def join(axis: int, x: Any) -> Any:
        return join_axis(by_share(x), axis)

    parts = {name: jax.tree.map(partial(join, axis), getattr(state, name)) for name, axis in _ENVIRONMENT_AXES.items()}
    return jax.tree.map(lambda x: by_share(x)[0], state).replace(**parts)
