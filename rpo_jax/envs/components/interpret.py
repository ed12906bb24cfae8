"""Interprets the program of a single call on a whole batch whose arrays are taken apart."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr

from rpo_jax.envs.components.known import compute, is_computed
from rpo_jax.envs.components.values import MAX_PARTS, Value
from rpo_jax.envs.vmap_last.interpret import bind, interpret

# By the name of an operation: `(equation, size, operands) -> results`; NotImplemented where the rule does not apply.
Rule = Callable[..., Any]
RULES: dict[str, Rule] = {}
CALLS = ("jit", "closed_call", "custom_jvp_call")
PROGRAMS = (*CALLS, "scan", "cond")  # whose rules hold no array apart themselves


def run(program: ClosedJaxpr, size: int, values: Sequence[Value]) -> list[Value]:
    """Runs a program on a batch.

    Args:
        program: program of arrays [...].
        size: size of the batch.
        values: its arguments.

    Returns:
        Its results.
    """
    return interpret(program, values, Value.of_known, partial(_apply, size))


def _apply(size: int, equation: Any, operands: Sequence[Value]) -> list[Value]:
    name = equation.primitive.name
    known = all(value.known is not None for value in operands)
    if known and name not in CALLS and is_computed(equation):
        return [Value.of_known(x) for x in compute(equation, [np.asarray(x.known, x.dtype) for x in operands])]
    rule = RULES.get(name)
    if rule is None or (name not in PROGRAMS and _is_large(equation)):
        return _by_vmap(equation, size, operands)
    results = rule(equation, size, *operands)
    return _by_vmap(equation, size, operands) if results is NotImplemented else results


def _is_large(equation: Any) -> bool:
    atoms = (*equation.invars, *equation.outvars)
    return any(np.prod(atom.aval.shape) > MAX_PARTS for atom in atoms) or any(
        jnp.issubdtype(atom.aval.dtype, jax.dtypes.extended) for atom in atoms
    )


def _by_vmap(equation: Any, size: int, operands: Sequence[Value]) -> list[Value]:
    """The operation under `jax.vmap`; or as it is, if nothing it works on is batched."""
    call = partial(bind, equation, equation.primitive.get_bind_params(equation.params))
    single = [value.is_single for value in operands]
    if all(single):
        return [Value.of_known(x) for x in call(*(value.single() for value in operands))]
    axes = [None if own else -1 for own in single]
    arrays = [value.single() if own else value.whole(size) for own, value in zip(single, operands, strict=True)]
    return [Value.of_whole(x) for x in jax.vmap(call, axes, -1, axis_size=size)(*arrays)]
