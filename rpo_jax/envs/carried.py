"""What programs carry of a simulator's state from step to step: the arrays that are read."""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jax.interpreters.partial_eval import dce_jaxpr

from rpo_jax.envs.protocol import Dynamics
from rpo_jax.keys import key_shape
from rpo_jax.typing import PyTree


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Absent:
    """Stands for an array of the state of one environment that is not carried: its shape [...] and dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype


def find_read(dynamics: Dynamics, action_size: int, shown: Callable[[PyTree], PyTree]) -> list[bool]:
    """Finds the arrays of a state on which later observations, rewards and ends of episodes depend.

    Simulators return much that only tells of a step, such as velocities of bodies that they compute anew from others.

    Args:
        dynamics: one environment; its step returns a state of the same structure.
        action_size: length of an action, A.
        shown: returns other arrays of a state that are needed, such as those that pictures show.

    Returns:
        Whether each leaf of the state is needed.
    """
    key = key_shape()
    state, _ = jax.eval_shape(dynamics.init, key)
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    action = jax.ShapeDtypeStruct((action_size,), jnp.float32)
    program, (_, successor) = jax.make_jaxpr(dynamics.step, return_shape=True)(key, state, action)
    read, before = _inputs(jax.make_jaxpr(shown)(state)), None
    while read != before:
        before = read
        _, *of_state, _ = _inputs(program, [*read, *[True] * len(successor)])
        read = [old or now for old, now in zip(read, of_state, strict=True)]
    return read


def _inputs(program: ClosedJaxpr, outputs: Sequence[bool] | None = None) -> list[bool]:
    """Whether each input of a program is needed for some of its outputs; for any if None."""
    _, used = dce_jaxpr(program.jaxpr, outputs or [True] * len(program.out_avals))
    return used


def carry(state: PyTree, read: Sequence[bool] | None) -> PyTree:
    """Converts a state to the form that programs carry: no array that is empty or not read, and no weak types.

    Args:
        state: leaves [..., N].
        read: whether each leaf is needed, from `find_read`; all are if None.

    Returns:
        The state, with placeholders for arrays; `restore` is the inverse.
    """
    leaves, structure = jax.tree.flatten(state)

    def convert(x: jax.typing.ArrayLike, is_read: bool) -> jax.Array | _Absent:
        x = jnp.asarray(x)
        if not (is_read and x.size):
            return _Absent(x.shape[:-1], x.dtype)  # XLA would replicate an empty array, while the others are sharded
        # Suites start counters from Python numbers, whose weak type would change in the carry of a scan.
        return jax.lax.convert_element_type(x, x.dtype)

    return structure.unflatten(map(convert, leaves, read or [True] * len(leaves)))


def restore(state: PyTree, num_envs: int) -> PyTree:
    """Restores the structure of a state that programs carry. What is not read becomes zeros.

    Args:
        state: leaves [..., N], from `carry`.
        num_envs: number of environments, N.

    Returns:
        The state as the simulator takes it.
    """

    def is_absent(x: object) -> bool:
        return isinstance(x, _Absent)

    def put_back(x: jax.Array | _Absent) -> jax.Array:
        return jnp.zeros((*x.shape, num_envs), x.dtype) if isinstance(x, _Absent) else x

    return jax.tree.map(put_back, state, is_leaf=is_absent)
