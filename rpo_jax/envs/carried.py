"""What programs carry of a simulator's state from step to step: the arrays that are read and that change."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Var
from jax.interpreters.partial_eval import dce_jaxpr

from rpo_jax.envs.components.interpret import CALLS, run
from rpo_jax.envs.protocol import Dynamics
from rpo_jax.envs.vmap_last.control import consts_and_carry, program_of
from rpo_jax.keys import key_shape
from rpo_jax.typing import PyTree

Shown = Callable[[PyTree], PyTree]
MOST_BYTES = 2**16  # of an array that never changes: a program holds it as a literal


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Absent:
    """Stands for an array of a state that is not carried. It can be compared, as parts of a tree's structure must be.

    Attributes:
        shape: its shape, for one environment.
        dtype: its dtype.
        content: the bytes of an array that never changes; None for one that becomes zeros.
    """

    shape: tuple[int, ...]
    dtype: Any
    content: bytes | None = dataclasses.field(default=None, repr=False)

    def array(self) -> jax.typing.ArrayLike:
        """Returns the array [...]."""
        if self.content is not None:
            return np.frombuffer(self.content, self.dtype).reshape(self.shape)
        if jnp.issubdtype(self.dtype, jax.dtypes.extended):
            return jnp.zeros(self.shape, self.dtype)
        return np.broadcast_to(np.zeros((), self.dtype), self.shape)


def carry_less(dynamics: Dynamics, action_size: int, shown: Shown | None) -> Dynamics:
    """Makes the state of a simulator smaller, for programs that carry it from step to step.

    Args:
        dynamics: one environment.
        action_size: length of an action, A.
        shown: returns arrays of a state that are needed beside those that steps read, such as those that pictures show;
            all are needed if None.

    Returns:
        The same environment, in whose state `Absent` stands for arrays that are empty, not needed, or found to be the
        same in every state. No array has a weak type. `restore` puts arrays back.
    """

    @cache
    def absent() -> list[Absent | None] | None:
        return shown and find_absent(dynamics, action_size, shown)

    def init(key: jax.Array) -> tuple[PyTree, jax.Array]:
        state, obs = dynamics.init(key)
        return carry(state, absent()), obs

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> tuple[PyTree, Any]:
        state, successor = dynamics.step(key, restore(state), action)
        return carry(state, absent()), successor

    return Dynamics(init, step)


def find_absent(dynamics: Dynamics, action_size: int, shown: Shown) -> list[Absent | None]:
    """Finds the arrays of a state that need not be carried.

    Simulators return much that only tells of a step, such as velocities of bodies that they compute anew from others,
    and what never changes, such as masses.

    Args:
        dynamics: one environment; its step returns a state of the same structure.
        action_size: length of an action, A.
        shown: as of `carry_less`.

    Returns:
        What stands for each leaf of the state; None for one that must be carried: later observations, rewards, ends of
        episodes or what is shown depend on it, and it is not known to stay the same, or has more than `MOST_BYTES`.
    """
    key = key_shape()
    begin, (state, _) = jax.make_jaxpr(dynamics.init, return_shape=True)(key)
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
    action = jax.ShapeDtypeStruct((action_size,), jnp.float32)
    program, (_, successor) = jax.make_jaxpr(dynamics.step, return_shape=True)(key, state, action)
    read, before = _inputs(jax.make_jaxpr(shown)(state)), None
    while read != before:
        before = read
        _, *of_state, _ = _inputs(program, [*read, *[True] * len(successor)])
        read = [old or now for old, now in zip(read, of_state, strict=True)]
    kept = [origin == place + 1 for place, origin in enumerate(_origins(program.jaxpr)[: len(read)])]
    leaves = jax.tree.leaves(state)
    return [
        (_constant(begin, place) if kept[place] else None) if read[place] else Absent(leaf.shape, leaf.dtype)
        for place, leaf in enumerate(leaves)
    ]


def _inputs(program: ClosedJaxpr, outputs: Sequence[bool] | None = None) -> list[bool]:
    """Whether each input of a program is needed for some of its outputs; for any if None."""
    _, used = dce_jaxpr(program.jaxpr, outputs or [True] * len(program.out_avals))
    return used


def _constant(begin: ClosedJaxpr, place: int) -> Absent | None:
    """A small result of a program, if it does not depend on the inputs; otherwise None."""
    aval = begin.out_avals[place]
    if math.prod(aval.shape) * aval.dtype.itemsize > MOST_BYTES:
        return None
    pruned, used = dce_jaxpr(begin.jaxpr, [result == place for result in range(len(begin.out_avals))])
    if any(used):
        return None
    (value,) = run(ClosedJaxpr(pruned, begin.consts), 1, [])
    return None if value.known is None else Absent(value.shape, value.dtype, value.known.astype(value.dtype).tobytes())


def _origins(program: Jaxpr) -> list[int | None]:
    """The input that each output of a program is, unchanged; None if that is not known."""
    origin: dict[Any, int] = {variable: place for place, variable in enumerate(program.invars)}
    for equation in program.eqns:
        for result, place in zip(equation.outvars, _passed_on(equation), strict=False):
            operand = None if place is None else equation.invars[place]
            if isinstance(operand, Var) and operand in origin:
                origin[result] = origin[operand]
    return [origin.get(result) if isinstance(result, Var) else None for result in program.outvars]


def _passed_on(equation: Any) -> Iterator[int | None]:
    """The operand that each result of an operation is, unchanged; None if that is not known."""
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        yield from _origins(program_of(equation).jaxpr)
    elif name == "scan":
        num_consts, num_carry = consts_and_carry(params)
        for place, origin in enumerate(_origins(params["jaxpr"].jaxpr)[:num_carry], num_consts):
            yield place if origin == place else None


def carry(state: PyTree, absent: Sequence[Absent | None] | None) -> PyTree:
    """Converts a state to the form that programs carry: no array that is absent or empty, and no weak types.

    Args:
        state: leaves [...].
        absent: what stands for each leaf, from `find_absent`; nothing does if None.

    Returns:
        The state, with placeholders for arrays; `restore` puts arrays back.
    """
    leaves, structure = jax.tree.flatten(state)

    def convert(x: jax.typing.ArrayLike, absent: Absent | None) -> jax.Array | Absent:
        x = jnp.asarray(x)
        if absent or not x.size:
            return absent or Absent(x.shape, x.dtype)  # XLA would replicate an empty array where others are sharded
        # Suites start counters from Python numbers, whose weak type would change in the carry of a scan.
        return jax.lax.convert_element_type(x, x.dtype)

    return structure.unflatten(map(convert, leaves, absent or [None] * len(leaves)))


def restore(state: PyTree) -> PyTree:
    """Restores the state of one environment that programs carry. What is not read becomes zeros.

    Args:
        state: leaves [...], from `carry`.

    Returns:
        The state as the simulator takes it.
    """
    return jax.tree.map(
        lambda x: x.array() if isinstance(x, Absent) else x, state, is_leaf=lambda x: isinstance(x, Absent)
    )
