"""Operations on known arrays, done at once: simple ones by NumPy, others by JAX on the CPU.

JAX would give the same, but for subnormal numbers and the sign of zeros, and compile each operation for each shape.
NumPy also does operations that only move numbers, on the parts of arrays.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.envs.on_cpu import on_cpu
from rpo_jax.envs.vmap_last.interpret import bind

Move = Callable[..., np.ndarray | list[np.ndarray] | None]
MOST_NUMBERS = 4096  # that are made or gathered here: one after another, or as constants of programs


def _broadcast(params: dict[str, Any], x: np.ndarray) -> np.ndarray:
    shape, axes = params["shape"], params["broadcast_dimensions"]
    sizes = [1] * len(shape)
    for own, axis in zip(x.shape, axes, strict=True):
        sizes[axis] = own
    return np.broadcast_to(x.reshape(sizes), shape)


def _slice(params: dict[str, Any], x: np.ndarray) -> np.ndarray:
    strides = params["strides"] or itertools.repeat(1)
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


def _gather(params: dict[str, Any], x: np.ndarray, indices: np.ndarray) -> np.ndarray | None:
    """Copies a slice for each index; what lies outside is for JAX, and so are many indices."""
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    batch = indices.shape[:-1]
    if np.prod(batch) > MOST_NUMBERS:
        return None
    starts = np.zeros((*batch, x.ndim), np.int64)
    starts[..., list(numbers.start_index_map)] = indices
    for axis, of_batch in zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True):
        starts[..., axis] = np.indices(batch, sparse=True)[of_batch]
    if (starts < 0).any() or (starts > np.subtract(x.shape, sizes)).any():
        return None
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    shape = [size for axis, size in enumerate(sizes) if axis not in gone]
    found = np.empty((*batch, *shape), x.dtype)
    for place in np.ndindex(batch):
        found[place] = x[tuple(map(slice, starts[place], starts[place] + sizes))].reshape(shape)
    return np.moveaxis(found, range(len(batch), found.ndim), numbers.offset_dims)


def _convert(params: dict[str, Any], x: np.ndarray) -> np.ndarray | None:
    """Does not round to integers, where infinities and NaN are for JAX."""
    to = np.dtype(params["new_dtype"])
    return None if x.dtype.kind not in "biu" and to.kind in "biu" else x.astype(to)


def _divide(params: dict[str, Any], x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    return np.divide(x, y) if x.dtype.kind == "f" else None


def _select(params: dict[str, Any], which: np.ndarray, *cases: np.ndarray) -> np.ndarray | None:
    return np.where(which, cases[1], cases[0]) if which.dtype == bool and len(cases) == 2 else None


def _unstack(params: dict[str, Any], x: np.ndarray) -> list[np.ndarray]:
    axis = params["axis"]
    return [np.squeeze(part, axis) for part in np.split(x, x.shape[axis], axis)]  # arrays, if of one part each


def _iota(params: dict[str, Any]) -> np.ndarray:
    axis = params["dimension"]
    return _broadcast(
        params | {"broadcast_dimensions": (axis,)}, np.arange(params["shape"][axis], dtype=params["dtype"])
    )


# By the name of an operation: `(params, arrays) -> array`, or a list of arrays; None where it is for JAX.
MOVES: dict[str, Move] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda params, *arrays: np.concatenate(arrays, params["dimension"]),
    "copy": lambda params, x: x,
    "reshape": lambda params, x: x.reshape(params["new_sizes"]),
    "rev": lambda params, x: np.flip(x, params["dimensions"]),
    "slice": _slice,
    "split": lambda params, x: np.split(x, np.cumsum(params["sizes"])[:-1], params["axis"]),
    "squeeze": lambda params, x: np.squeeze(x, params["dimensions"]),
    "stack": lambda params, *arrays: np.stack(arrays, params["axis"]),
    "tile": lambda params, x: np.tile(x, params["reps"]),
    "transpose": lambda params, x: x.transpose(params["permutation"]),
    "unstack": _unstack,
}
_PLAIN: dict[str, np.ufunc] = {
    "abs": np.absolute,
    "add": np.add,
    "and": np.bitwise_and,
    "eq": np.equal,
    "ge": np.greater_equal,
    "gt": np.greater,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "sub": np.subtract,
    "xor": np.bitwise_xor,
}
NUMBERS: dict[str, Move] = {
    **{name: (lambda params, *arrays, of=of: of(*arrays)) for name, of in _PLAIN.items()},
    "convert_element_type": _convert,
    "div": _divide,
    "gather": _gather,
    "iota": _iota,
    "reduce_and": lambda params, x: np.bitwise_and.reduce(x, params["axes"]),
    "reduce_or": lambda params, x: np.bitwise_or.reduce(x, params["axes"]),
    "select_n": _select,
}


def is_computed(equation: Any) -> bool:
    """Tells whether an operation on known arrays is to be computed at once.

    Args:
        equation: the operation, on known arrays or on none.

    Returns:
        Whether it has no effects, and its results are no long range that programs had better make.
    """
    if equation.primitive.name == "iota":
        return math.prod(equation.params["shape"]) <= MOST_NUMBERS
    return bool(equation.invars) and not equation.effects


def compute(equation: Any, arrays: list[np.ndarray], **changed: Any) -> list[Any]:
    """Returns the results of the operation of an `equation` on known `arrays`, of NumPy if they are not random keys.

    JAX does it with some parameters `changed`, of which NumPy needs none: it gathers nothing from out of bounds.
    """
    if (found := by_numpy(equation, arrays)) is None:
        with computed_now():
            params = equation.primitive.get_bind_params(equation.params | changed)
            found = bind(equation, params, *map(jnp.asarray, arrays))
    return [x if jnp.issubdtype(x.dtype, jax.dtypes.extended) else np.asarray(x) for x in found]


@contextlib.contextmanager
def computed_now() -> Iterator[None]:
    """In the block JAX computes what it is given, where a program is traced too."""
    with jax.ensure_compile_time_eval(), on_cpu():
        yield


def by_numpy(equation: Any, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """Returns the results of the operation of an `equation` on known `arrays`; None if NumPy does not do it here."""
    name = equation.primitive.name
    function = MOVES.get(name) or NUMBERS.get(name)
    if function is None or (name == "reshape" and equation.params["dimensions"] is not None):
        return None
    with np.errstate(all="ignore"):
        found = function(equation.params, *arrays)
    return [found] if isinstance(found, np.ndarray | np.generic) else found
