"""Operations done by NumPy: on known arrays, and those that only move numbers on parts too.

JAX would do the same, but compile each operation for each shape.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Move = Callable[..., np.ndarray | list[np.ndarray]]


def _broadcast(params: dict[str, Any], x: np.ndarray) -> np.ndarray:
    shape, axes = params["shape"], params["broadcast_dimensions"]
    sizes = [1] * len(shape)
    for own, axis in zip(x.shape, axes, strict=True):
        sizes[axis] = own
    return np.broadcast_to(x.reshape(sizes), shape)


def _slice(params: dict[str, Any], x: np.ndarray) -> np.ndarray:
    strides = params["strides"] or itertools.repeat(1)
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


# By the name of an operation: `(params, arrays) -> array`, or a list of arrays.
MOVES: dict[str, Move] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda params, *arrays: np.concatenate(arrays, params["dimension"]),
    "copy": lambda params, x: x,
    "reshape": lambda params, x: x.reshape(params["new_sizes"]),
    "rev": lambda params, x: np.flip(x, params["dimensions"]),
    "slice": _slice,
    "split": lambda params, x: np.split(x, np.cumsum(params["sizes"])[:-1], params["axis"]),
    "squeeze": lambda params, x: np.squeeze(x, params["dimensions"]),
    "transpose": lambda params, x: x.transpose(params["permutation"]),
}
_BINARY: dict[str, np.ufunc] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
NUMBERS: dict[str, Move] = {name: (lambda params, x, y, of=of: of(x, y)) for name, of in _BINARY.items()}


def by_numpy(equation: Any, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """Returns the results of the operation of an `equation` on known `arrays`; None if NumPy does not do it here."""
    name = equation.primitive.name
    function = MOVES.get(name) or NUMBERS.get(name)
    if function is None or (name == "reshape" and equation.params["dimensions"] is not None):
        return None
    with np.errstate(all="ignore"):
        found = function(equation.params, *arrays)
    return found if isinstance(found, list) else [found]
