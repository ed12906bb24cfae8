"""Rules of operations on numbers and on axes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rpo_jax.envs.vmap_last.interpret import Rule, Value, batched, bind


def _elementwise(equation: Any, size: int, *operands: Value) -> list[Value]:
    shape = equation.outvars[0].aval.shape
    return batched(bind(equation, equation.params, *(value.across(shape, size) for value in operands)))


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
        return batched(bind(equation, params, *(value.spread(size) for value in operands)))

    return rule


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


def _concatenate(equation: Any, size: int, *operands: Value) -> list[Value]:
    """Joins arrays; on a CPU, XLA may not compute them anew wherever the result is read.

    Measured where it may: a step of Brax's reacher takes 3 times as long, one of ant 1.5 times.
    """
    array = lax.concatenate([value.spread(size) for value in operands], equation.params["dimension"])
    return batched([lax.platform_dependent(array, cpu=lax.optimization_barrier, default=lambda x: x)])


def _pad(equation: Any, size: int, x: Value, padding: Value) -> Any:
    if padding.batched:
        return NotImplemented
    return batched([lax.pad(x.array, padding.array, (*equation.params["padding_config"], (0, 0, 0)))])


def _gather(equation: Any, size: int, x: Value, indices: Value) -> Any:
    if indices.batched:
        return NotImplemented
    numbers = equation.params["dimension_numbers"]
    numbers = numbers._replace(offset_dims=(*numbers.offset_dims, equation.outvars[0].aval.ndim))
    params = {"dimension_numbers": numbers, "slice_sizes": (*equation.params["slice_sizes"], size)}
    return batched(bind(equation, equation.params | params, x.array, indices.array))


def _scatter(equation: Any, size: int, x: Value, indices: Value, updates: Value) -> Any:
    if indices.batched:
        return NotImplemented
    numbers = equation.params["dimension_numbers"]
    numbers = numbers._replace(update_window_dims=(*numbers.update_window_dims, equation.invars[2].aval.ndim))
    arrays = (x.spread(size), indices.array, updates.spread(size))
    return batched(bind(equation, equation.params | {"dimension_numbers": numbers}, *arrays))


def _dynamic_slice(equation: Any, size: int, x: Value, *starts: Value) -> Any:
    if any(start.batched for start in starts):
        return NotImplemented
    sizes = {"slice_sizes": (*equation.params["slice_sizes"], size)}
    return batched(bind(equation, equation.params | sizes, x.array, *_and_zero(starts)))


def _dynamic_update_slice(equation: Any, size: int, x: Value, update: Value, *starts: Value) -> Any:
    if any(start.batched for start in starts):
        return NotImplemented
    arrays = (x.spread(size), update.spread(size), *_and_zero(starts))
    return batched(bind(equation, equation.params, *arrays))


def _and_zero(starts: Sequence[Value]) -> list[jax.Array]:
    """Where a slice starts on each axis, and on that of the batch."""
    arrays = [jnp.asarray(start.array) for start in starts]
    return [*arrays, jnp.zeros((), arrays[0].dtype)]


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
    "reduce_or", "reduce_prod", "reduce_sum", "rev", "squeeze", "split", "stack", "unstack",
)
# fmt: on
RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(ALONG_OTHER_AXES, _with_params(lambda params, rank, size: {})),
    "bitcast_convert_type": _bitcast,
    "concatenate": _concatenate,
    "broadcast_in_dim": _with_params(_broadcast),
    "reshape": _with_params(_reshape),
    "slice": _with_params(_slice),
    "tile": _with_params(lambda params, rank, size: {"reps": (*params["reps"], 1)}),
    "transpose": _with_params(lambda params, rank, size: {"permutation": (*params["permutation"], rank)}),
    "gather": _gather,
    "pad": _pad,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    **dict.fromkeys(("scatter", "scatter-add", "scatter-max", "scatter-min", "scatter-mul", "scatter-sub"), _scatter),
}
