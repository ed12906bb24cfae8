"""Interprets the program of a single call on a whole batch, by the rules of its operations."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import source_info_util
from jax.extend.core import ClosedJaxpr, Literal

# By the name of an operation: `(equation, N, operands) -> results`, at least one operand batched; NotImplemented where
# the rule does not apply. The other modules fill it, for some of their rules interpret inner programs.
Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}
AnyValue = TypeVar("AnyValue")


class Value(NamedTuple):
    """An array of the program.

    Attributes:
        array: the array.
        batched: whether the batch is its last axis; otherwise it is the same for all of the batch.
    """

    array: Any
    batched: bool

    def spread(self, size: int) -> jax.Array:
        """Returns the array [..., size] with the batch as its last axis."""
        return self.array if self.batched else self.across(jnp.shape(self.array), size)

    def across(self, shape: tuple[int, ...], size: int) -> jax.Array:
        """Returns a number or an array of that `shape`, broadcast to it and to the batch after it: [*shape, size]."""
        if jnp.shape(self.array) == (*shape, size):
            return self.array
        own = range(jnp.ndim(self.array) - self.batched)
        return lax.broadcast_in_dim(self.array, (*shape, size), (*own, len(shape)) if self.batched else own)


def run(program: ClosedJaxpr, size: int, values: Sequence[Value]) -> list[Value]:
    """Runs a program on a batch.

    Args:
        program: program of arrays [...].
        size: size of the batch.
        values: its arguments.

    Returns:
        Its results.
    """
    return interpret(program, values, lambda array: Value(jnp.asarray(array), False), partial(_apply, size))


def interpret(
    program: ClosedJaxpr,
    values: Sequence[AnyValue],
    constant: Callable[[Any], AnyValue],
    apply: Callable[[Any, Sequence[AnyValue]], list[AnyValue]],
) -> list[AnyValue]:
    """Runs a program on values of any kind, each operation where and as it was written.

    So `jax.core.eval_jaxpr` does it too: names for profiles, lines for errors, and settings such as
    `jax.threefry_partitionable` are those of the equation.

    Args:
        program: the program.
        values: its arguments.
        constant: makes a value of an array of the program itself.
        apply: does an operation, `(equation, operands) -> results`.

    Returns:
        Its results.
    """
    known = dict(zip(program.jaxpr.invars, values, strict=True))
    known |= {var: constant(const) for var, const in zip(program.jaxpr.constvars, program.consts, strict=True)}

    def read(atom: Any) -> AnyValue:
        if isinstance(atom, Literal):
            value: Any = atom.val
            return constant(np.asarray(value, atom.aval.dtype))  # pyright: ignore[reportAttributeAccessIssue]
        return known[atom]

    for equation in program.jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        source = equation.source_info
        names = source_info_util.current_name_stack() + source.name_stack
        with source_info_util.user_context(source.traceback, name_stack=names), equation.ctx.manager:
            results = apply(equation, operands)
        known |= zip(equation.outvars, results, strict=True)
    return [read(atom) for atom in program.jaxpr.outvars]


def _apply(size: int, equation: Any, operands: Sequence[Value]) -> list[Value]:
    rule = RULES.get(equation.primitive.name)
    if rule is None or not any(value.batched for value in operands):
        return _by_vmap(equation, size, operands)
    results = rule(equation, size, *operands)
    return _by_vmap(equation, size, operands) if results is NotImplemented else results


def _by_vmap(equation: Any, size: int, operands: Sequence[Value]) -> list[Value]:
    """The operation under `jax.vmap`; or as it is, if nothing it works on is batched."""
    call = partial(bind, equation, equation.primitive.get_bind_params(equation.params))
    batched = any(value.batched for value in operands)
    if batched:
        axes = [-1 if value.batched else None for value in operands]
        call = jax.vmap(call, in_axes=axes, out_axes=-1, axis_size=size)
    return [Value(array, batched) for array in call(*(value.array for value in operands))]


def bind(equation: Any, params: dict[str, Any], *arrays: Any) -> list[Any]:
    """Returns all results of the operation of an `equation`, with other `params`, on `arrays`."""
    results = equation.primitive.bind(*arrays, **params)
    return list(results) if equation.primitive.multiple_results else [results]


def batched(arrays: Sequence[Any]) -> list[Value]:
    """Returns `arrays` [..., N] as values whose last axis is the batch."""
    return [Value(array, True) for array in arrays]
