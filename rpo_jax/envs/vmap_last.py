"""vmap with the batch on the last axis of every array.

The arrays of a simulator are small: a body's position is 3 numbers. Under `jax.vmap` they become [N, bodies, 3], and a
compiler that vectorises over the last axis finds 3 numbers there. With the batch last, [bodies, 3, N], each operation
runs over N numbers that lie side by side.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal

MAX_UNROLLED = 16  # products summed without a matrix product


def vmap_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap(function, in_axes=-1, out_axes=-1)` that keeps the batch last in between too.

    The program of a single call is interpreted, operation by operation. What has no rule here goes through `jax.vmap`,
    which brings the batch to the front and back: `while` loops and sorts, for instance. Derivatives are those of the
    operations; custom JVP rules are lost.

    Args:
        function: of arrays, at least one; may return any tree of arrays.

    Raises:
        ValueError: when called, if the last axes of the arguments are not all of the same size.
    """

    def batched(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        leaves = list(map(jnp.asarray, leaves))
        size = _size_of_batch(leaves)
        single = [jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype) for leaf in leaves]
        program, result = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(tree, single))
        values = _run(program, size, [Value(leaf, True) for leaf in leaves])
        return jax.tree.unflatten(jax.tree.structure(result), [value.spread(size) for value in values])

    return batched


def _size_of_batch(leaves: Sequence[jax.Array]) -> int:
    sizes = {leaf.shape[-1:] for leaf in leaves}
    if len(sizes) != 1 or () in sizes:
        shapes = ", ".join(str(leaf.shape) for leaf in leaves)
        raise ValueError(f"the last axis of every array is that of the batch, [..., N], but these are {shapes}")
    return sizes.pop()[0]


class Value(NamedTuple):
    """An array of the program: with the batch as its last axis, or the same for all of the batch."""

    array: Any
    batched: bool

    def spread(self, size: int) -> jax.Array:
        """With the batch as its last axis."""
        return self.array if self.batched else self.across(jnp.shape(self.array), size)

    def across(self, shape: tuple[int, ...], size: int) -> jax.Array:
        """A number or an array of that shape, broadcast to the shape and to the batch after it."""
        if jnp.shape(self.array) == (*shape, size):
            return self.array
        own = range(jnp.ndim(self.array) - self.batched)
        return lax.broadcast_in_dim(self.array, (*shape, size), (*own, len(shape)) if self.batched else own)


def _run(program: ClosedJaxpr, size: int, values: Sequence[Value]) -> list[Value]:
    known = dict(zip(program.jaxpr.invars, values, strict=True))
    known |= {var: Value(const, False) for var, const in zip(program.jaxpr.constvars, program.consts, strict=True)}

    def read(atom: Any) -> Value:
        if isinstance(atom, Literal):
            return Value(jnp.asarray(atom.val, atom.aval.dtype), False)  # pyright: ignore[reportAttributeAccessIssue]
        return known[atom]

    for equation in program.jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        batched = any(value.batched for value in operands)
        rule = RULES.get(equation.primitive.name, _by_vmap) if batched else _by_vmap
        results = rule(equation, size, *operands)
        if results is NotImplemented:
            results = _by_vmap(equation, size, *operands)
        known |= zip(equation.outvars, results, strict=True)
    return [read(atom) for atom in program.jaxpr.outvars]


def _bind(equation: Any, params: dict[str, Any], *arrays: Any) -> list[Any]:
    results = equation.primitive.bind(*arrays, **params)
    return list(results) if equation.primitive.multiple_results else [results]


def _by_vmap(equation: Any, size: int, *operands: Value) -> list[Value]:
    """The operation under `jax.vmap`; or as it is, if nothing it works on is batched."""
    bind = partial(_bind, equation, equation.primitive.get_bind_params(equation.params))
    arrays = [value.array for value in operands]
    batched = any(value.batched for value in operands)
    if batched:
        axes = [-1 if value.batched else None for value in operands]
        bind = jax.vmap(bind, in_axes=axes, out_axes=-1, axis_size=size)
    return [Value(array, batched) for array in bind(*arrays)]


def _elementwise(equation: Any, size: int, *operands: Value) -> list[Value]:
    shape = equation.outvars[0].aval.shape
    return _batched(_bind(equation, equation.params, *(value.across(shape, size) for value in operands)))


def _bitcast(equation: Any, size: int, x: Value) -> Any:
    if equation.invars[0].aval.shape != equation.outvars[0].aval.shape:  # to numbers of another width
        return NotImplemented
    return _elementwise(equation, size, x)


def _with_params(change: Callable[[dict[str, Any], int, int], dict[str, Any]]) -> Callable[..., Any]:
    """A rule for operations whose parameters count axes from the front: `change(params, rank of the result, size)`."""

    def rule(equation: Any, size: int, *operands: Value) -> Any:
        if any(equation.params.get(name) is not None for name in ("sharding", "out_sharding")):
            return NotImplemented
        params = equation.params | change(equation.params, len(equation.outvars[0].aval.shape), size)
        return _batched(_bind(equation, params, *(value.spread(size) for value in operands)))

    return rule


def _batched(arrays: Sequence[Any]) -> list[Value]:
    return [Value(array, True) for array in arrays]


def _slice(params: dict[str, Any], rank: int, size: int) -> dict[str, Any]:
    strides = params["strides"]
    return {
        "start_indices": (*params["start_indices"], 0),
        "limit_indices": (*params["limit_indices"], size),
        "strides": None if strides is None else (*strides, 1),
    }


def _reshape(params: dict[str, Any], rank: int, size: int) -> dict[str, Any]:
    order = params["dimensions"]
    return {
        "new_sizes": (*params["new_sizes"], size),
        "dimensions": None if order is None else (*order, len(order)),
    }


def _broadcast(params: dict[str, Any], rank: int, size: int) -> dict[str, Any]:
    return {
        "shape": (*params["shape"], size),
        "broadcast_dimensions": (*params["broadcast_dimensions"], rank),
    }


def _pad(equation: Any, size: int, x: Value, padding: Value) -> Any:
    if padding.batched:
        return NotImplemented
    return _batched([lax.pad(x.array, padding.array, (*equation.params["padding_config"], (0, 0, 0)))])


def _gather(equation: Any, size: int, x: Value, indices: Value) -> Any:
    if indices.batched:
        return NotImplemented
    numbers = equation.params["dimension_numbers"]
    numbers = numbers._replace(offset_dims=(*numbers.offset_dims, equation.outvars[0].aval.ndim))
    params = {"dimension_numbers": numbers, "slice_sizes": (*equation.params["slice_sizes"], size)}
    return _batched(_bind(equation, equation.params | params, x.array, indices.array))


def _scatter(equation: Any, size: int, x: Value, indices: Value, updates: Value) -> Any:
    if indices.batched:
        return NotImplemented
    numbers = equation.params["dimension_numbers"]
    numbers = numbers._replace(update_window_dims=(*numbers.update_window_dims, equation.invars[2].aval.ndim))
    arrays = (x.spread(size), indices.array, updates.spread(size))
    return _batched(_bind(equation, equation.params | {"dimension_numbers": numbers}, *arrays))


def _dynamic_slice(equation: Any, size: int, x: Value, *starts: Value) -> Any:
    if any(start.batched for start in starts):
        return NotImplemented
    sizes = {"slice_sizes": (*equation.params["slice_sizes"], size)}
    return _batched(_bind(equation, equation.params | sizes, x.array, *_and_zero(starts)))


def _dynamic_update_slice(equation: Any, size: int, x: Value, update: Value, *starts: Value) -> Any:
    if any(start.batched for start in starts):
        return NotImplemented
    arrays = (x.spread(size), update.spread(size), *_and_zero(starts))
    return _batched(_bind(equation, equation.params, *arrays))


def _and_zero(starts: Sequence[Value]) -> list[jax.Array]:
    """Where a slice starts on each axis, and on that of the batch."""
    arrays = [jnp.asarray(start.array) for start in starts]
    return [*arrays, jnp.zeros((), arrays[0].dtype)]


def _dot_general(equation: Any, size: int, x: Value, y: Value) -> Any:
    """Few products are multiplied and summed; `jax.vmap` makes matrix products of many."""
    (x_summed, y_summed), (x_shared, y_shared) = equation.params["dimension_numbers"]
    x_shape, y_shape = (atom.aval.shape for atom in equation.invars)
    exact = equation.params["preferred_element_type"] in (None, equation.invars[0].aval.dtype)
    if not exact or math.prod(x_shape[axis] for axis in x_summed) > MAX_UNROLLED:
        return NotImplemented

    def own(shape: tuple[int, ...], *others: Sequence[int]) -> list[int]:
        return [axis for axis in range(len(shape)) if not any(axis in other for other in others)]

    def arranged(value: Value, shape: tuple[int, ...], *axes: Sequence[int] | int) -> jax.Array:
        """The axes in this order and then the batch; a number stands for so many axes of size 1."""
        order = [axis for group in axes if not isinstance(group, int) for axis in group]
        sizes = [[1] * group if isinstance(group, int) else [shape[axis] for axis in group] for group in axes]
        array = value.array if value.batched else jnp.asarray(value.array)[..., None]
        return lax.transpose(array, (*order, len(shape))).reshape((*itertools.chain(*sizes), array.shape[-1]))

    x_own, y_own = own(x_shape, x_summed, x_shared), own(y_shape, y_summed, y_shared)
    products = arranged(x, x_shape, x_shared, x_own, len(y_own), x_summed) * arranged(
        y, y_shape, y_shared, len(x_own), y_own, y_summed
    )
    first = len(x_shared) + len(x_own) + len(y_own)
    return _batched([products.sum(range(first, first + len(x_summed)), dtype=products.dtype)])


def _call(equation: Any, size: int, *operands: Value) -> list[Value]:
    return _run(equation.params["jaxpr" if "jaxpr" in equation.params else "call_jaxpr"], size, operands)


def _scan(equation: Any, size: int, *operands: Value) -> list[Value]:
    params = equation.params
    num_consts, num_carry = _consts_and_carry(params)
    consts, start, xs = operands[:num_consts], operands[num_consts:][:num_carry], operands[num_consts + num_carry :]
    carried, found = [value.batched for value in start], []  # whether each is batched: before a step, and after it

    def body(carry: Any, x: Any) -> Any:
        inputs = (*consts, *map(Value, carry, carried), *map(Value, x, [value.batched for value in xs]))
        results = _run(params["jaxpr"], size, inputs)
        found[:] = [value.batched for value in results]
        return _start(results[: len(carried)], carried, size), [value.array for value in results[len(carried) :]]

    one = [jax.ShapeDtypeStruct(value.array.shape[1:], value.array.dtype) for value in xs]
    while not all(carried):  # a counter, say, stays the same for all of the batch
        before = carried
        jax.eval_shape(body, _start(start, carried, size), one)
        carried = [own or after for own, after in zip(before, found, strict=False)]
        if carried == before:
            break
    loop = {name: params[name] for name in ("length", "reverse", "unroll")}
    end, ys = lax.scan(body, _start(start, carried, size), [value.array for value in xs], **loop)
    return list(map(Value, [*end, *ys], [*carried, *found[len(carried) :]]))


def _consts_and_carry(params: dict[str, Any]) -> tuple[int, int]:
    """How many of a scan's operands are constants, and how many are carried."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # since JAX 0.11
    return len(consts), len(carry)


def _start(values: Sequence[Value], batched: Sequence[bool], size: int) -> list[Any]:
    return [value.spread(size) if own else value.array for value, own in zip(values, batched, strict=True)]


def _cond(equation: Any, size: int, index: Value, *operands: Value) -> Any:
    def branch(program: ClosedJaxpr) -> Callable[..., list[jax.Array]]:
        def run(*arrays: Any) -> list[jax.Array]:
            values = map(Value, arrays, (value.batched for value in operands))
            return [value.spread(size) for value in _run(program, size, list(values))]

        return run

    branches = [branch(program) for program in equation.params["branches"]]
    arrays = [value.array for value in operands]
    if not index.batched:
        return _batched(lax.switch(index.array, branches, *arrays))
    which = lax.clamp(0, index.array.astype(jnp.int32), len(branches) - 1)  # [N]: all are done, and one is taken
    results = zip(*(run(*arrays) for run in branches), strict=True)
    return _batched([lax.select_n(jnp.broadcast_to(which, cases[0].shape), *cases) for cases in results])


# fmt: off
ELEMENTWISE = (
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh",
    "cbrt", "ceil", "clamp", "clz", "convert_element_type", "copy", "cos", "cosh", "div",
    "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le",
    "log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "population_count",
    "pow", "reduce_precision", "rem", "round", "rsqrt", "select_n", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh", "xor",
)
ALONG_OTHER_AXES = (
    "argmax", "argmin", "cummax", "cummin", "cumprod", "cumsum", "reduce_and", "reduce_max", "reduce_min",
    "reduce_or", "reduce_prod", "reduce_sum", "rev", "squeeze", "concatenate", "split", "stack", "unstack",
)
# fmt: on
RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(ALONG_OTHER_AXES, _with_params(lambda params, rank, size: {})),
    "bitcast_convert_type": _bitcast,
    "broadcast_in_dim": _with_params(_broadcast),
    "reshape": _with_params(_reshape),
    "slice": _with_params(_slice),
    "tile": _with_params(lambda params, rank, size: {"reps": (*params["reps"], 1)}),
    "transpose": _with_params(lambda params, rank, size: {"permutation": (*params["permutation"], rank)}),
    "dot_general": _dot_general,
    "gather": _gather,
    "pad": _pad,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    **dict.fromkeys(("scatter", "scatter-add", "scatter-max", "scatter-min", "scatter-mul", "scatter-sub"), _scatter),
    **dict.fromkeys(("jit", "closed_call", "custom_jvp_call"), _call),
    "cond": _cond,
    "scan": _scan,
}
