"""Rules of operations on numbers, on axes, and of products."""

from collections.abc import Callable
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rpo_jax.envs.components.interpret import Rule
from rpo_jax.envs.components.known import MOVES, by_numpy, compute, computed_now
from rpo_jax.envs.components.values import MAX_PARTS, Value, as_vector, taken_apart
from rpo_jax.envs.vmap_last.interpret import bind
from rpo_jax.envs.vmap_last.operations import ELEMENTWISE

MAX_PRODUCTS = 1024  # of a product of matrices that is made of vectors
REDUCTIONS = {
    "reduce_sum": lax.add,
    "reduce_prod": lax.mul,
    "reduce_max": lax.max,
    "reduce_min": lax.min,
    "reduce_and": lax.bitwise_and,
    "reduce_or": lax.bitwise_or,
}


def _elementwise(equation: Any, size: int, *operands: Value) -> Any:
    if equation.primitive.name == "select_n" and operands[0].known is not None and not operands[0].shape:
        return [operands[1 + int(operands[0].known)]]
    shape, dtype = equation.outvars[0].aval.shape, equation.outvars[0].aval.dtype
    parts = [np.broadcast_to(value.parts, shape) for value in operands]
    found = np.empty(shape, object)
    for index in np.ndindex(shape):
        found[index] = _of_parts(equation, size, [part[index] for part in parts], operands)
    return [Value.of_parts(found, dtype)]


def _of_parts(equation: Any, size: int, parts: list[Any], operands: tuple[Value, ...]) -> Any:
    if all(isinstance(part, np.generic) for part in parts):
        return compute(equation, [np.asarray(part, x.dtype) for part, x in zip(parts, operands, strict=True)])[0][()]
    return _bind(equation, size, parts, [value.dtype for value in operands])


def _bind(equation: Any, size: int, parts: list[Any], dtypes: list[Any]) -> Any:
    """The operation on components, at least one of them of JAX."""
    vectors = any(np.ndim(part) for part in parts)
    arrays = [
        as_vector(part, dtype, size) if vectors else jnp.asarray(part, dtype)
        for part, dtype in zip(parts, dtypes, strict=True)
    ]
    return bind(equation, equation.params, *arrays)[0]


def _bitcast(equation: Any, size: int, x: Value) -> Any:
    if equation.invars[0].aval.shape != equation.outvars[0].aval.shape:  # to numbers of another width
        return NotImplemented
    return _elementwise(equation, size, x)


def _rearrange(equation: Any, size: int, *operands: Value) -> Any:
    """Moves the parts, by NumPy."""
    found = by_numpy(equation, [value.parts for value in operands])
    if found is None:
        return NotImplemented
    return [Value.of_parts(np.asarray(x, object), equation.outvars[0].aval.dtype) for x in found]


def _move(*moved: int) -> Rule:
    """A rule for operations that only move the numbers of these operands: done on their numbers."""

    def rule(equation: Any, size: int, *operands: Value) -> Any:
        others = [value.known for place, value in enumerate(operands) if place not in moved]
        if any(known is None for known in others):
            return NotImplemented
        parts, arrays = [], []
        for place, value in enumerate(operands):
            if place in moved:
                numbers = np.arange(value.size, dtype=np.int32).reshape(value.shape) + len(parts)
                arrays.append(numbers)
                parts.extend(value.parts.flat)
            else:
                arrays.append(value.known)
        filled = {"fill_value": -1} if "fill_value" in equation.params else {}
        numbers = compute(equation, arrays, **filled)
        if any(((x < 0) | (x >= len(parts))).any() for x in numbers):  # where an index is out of bounds
            return NotImplemented
        table = taken_apart(parts, (-1,))
        dtype = equation.outvars[0].aval.dtype
        return [Value.of_parts(_taken(table, x), dtype) for x in numbers]

    return rule


def _taken(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    return taken_apart([table[number] for number in numbers.flat], numbers.shape)


def _scatter(combine: Callable[..., Any] | None) -> Rule:
    def rule(equation: Any, size: int, x: Value, indices: Value, updates: Value) -> Any:
        if indices.known is None or x.size * updates.size > MAX_PARTS**2:
            return NotImplemented
        if combine is None and equation.params["update_jaxpr"] is not None:  # `x.at[i].apply(f)`, of no use for updates
            return NotImplemented
        dtype, found = equation.outvars[0].aval.dtype, x.parts.copy().reshape(-1)
        for place, targets in enumerate(_targets(equation, x.shape, indices.known, updates.shape)):
            part = updates.parts.reshape(-1)[place]
            for target in targets:
                found[target] = part if combine is None else _combined(combine, [found[target], part], dtype, size)
        return [Value.of_parts(found.reshape(x.shape), dtype)]

    return rule


def _targets(equation: Any, shape: tuple[int, ...], indices: np.ndarray, updates: tuple[int, ...]) -> list[np.ndarray]:
    """Where each update goes: numbers of components of the operand."""
    numbers, mode = equation.params["dimension_numbers"], equation.params["mode"]

    def add(update: jax.Array) -> jax.Array:
        return lax.scatter_add(jnp.zeros(shape, jnp.float32), jnp.asarray(indices), update, numbers, mode=mode)

    ones = np.eye(int(np.prod(updates)), dtype=np.float32).reshape((-1, *updates))
    with computed_now():
        return [np.flatnonzero(add(one)) for one in ones]


def _combined(function: Callable[..., Any], parts: list[Any], dtype: Any, size: int) -> Any:
    """The parts folded by a function of two."""
    vectors = any(np.ndim(part) for part in parts)
    arrays = [as_vector(part, dtype, size) if vectors else jnp.asarray(part, dtype) for part in parts]
    return reduce(function, arrays)


def _reduction(equation: Any, size: int, x: Value) -> Any:
    axes = equation.params["axes"]
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    rows = x.parts.transpose((*kept, *axes)).reshape((*(x.shape[axis] for axis in kept), -1))
    if not rows.shape[-1]:
        return NotImplemented
    found, dtype = np.empty(rows.shape[:-1], object), equation.outvars[0].aval.dtype
    for index in np.ndindex(found.shape):
        found[index] = _combined(REDUCTIONS[equation.primitive.name], list(rows[index]), dtype, size)
    return [Value.of_parts(found, dtype)]


def _dot_general(equation: Any, size: int, x: Value, y: Value) -> Any:
    (x_summed, y_summed), (x_shared, y_shared) = equation.params["dimension_numbers"]
    dtype, shape = equation.outvars[0].aval.dtype, equation.outvars[0].aval.shape
    terms = int(np.prod([x.shape[axis] for axis in x_summed], dtype=int))
    if dtype != x.dtype or dtype != y.dtype or not terms or terms * int(np.prod(shape)) > MAX_PRODUCTS:
        return NotImplemented

    def arranged(value: Value, shared: tuple[int, ...], summed: tuple[int, ...]) -> np.ndarray:
        own = [axis for axis in range(len(value.shape)) if axis not in (*shared, *summed)]
        array = value.parts.transpose((*shared, *own, *summed))
        return array.reshape((*(value.shape[axis] for axis in shared), -1, terms))

    left, right = arranged(x, x_shared, x_summed), arranged(y, y_shared, y_summed)
    found = np.empty((*left.shape[:-1], right.shape[-2]), object)
    for index in np.ndindex(found.shape):
        pairs = zip(left[index[:-1]], right[(*index[:-2], index[-1])], strict=True)
        products = [_combined(lax.mul, list(pair), dtype, size) for pair in pairs]
        found[index] = _combined(lax.add, products, dtype, size)
    return [Value.of_parts(found.reshape(shape), dtype)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(MOVES, _rearrange),
    **dict.fromkeys(REDUCTIONS, _reduction),
    "bitcast_convert_type": _bitcast,
    "gather": _move(0),
    "dynamic_slice": _move(0),
    "dynamic_update_slice": _move(0, 1),
    "pad": _move(0, 1),
    "dot_general": _dot_general,
    "scatter": _scatter(None),
    "scatter-add": _scatter(lax.add),
    "scatter-mul": _scatter(lax.mul),
    "scatter-max": _scatter(lax.max),
    "scatter-min": _scatter(lax.min),
}
