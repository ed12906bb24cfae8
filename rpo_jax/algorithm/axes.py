"""One axis of an array split into equal parts, and joined again: of environments, samples or devices."""

from typing import Any


def split_axis(x: Any, axis: int, parts: int) -> Any:
    """Splits an axis into equal parts, which become the first axis.

    Args:
        x: array of NumPy or JAX, or random keys [..., N, ...].
        axis: the axis of length N, counted from the front, or from the back if negative.
        parts: number of parts, a divisor of N.

    Returns:
        Parts [parts, ..., N / parts, ...].
    """
    axis %= x.ndim
    x = x.reshape((*x.shape[:axis], parts, x.shape[axis] // parts, *x.shape[axis + 1 :]))
    return x.transpose((axis, *(other for other in range(x.ndim) if other != axis)))


def join_axis(parts: Any, axis: int) -> Any:
    """Joins parts along an axis: the inverse of `split_axis`.

    Args:
        parts: array of NumPy or JAX, or random keys [parts, ..., N / parts, ...].
        axis: the axis of length N in the result, counted from the front, or from the back if negative.

    Returns:
        The array [..., N, ...].
    """
    axis %= parts.ndim - 1
    x = parts.transpose((*range(1, axis + 1), 0, *range(axis + 1, parts.ndim)))
    return x.reshape((*x.shape[:axis], x.shape[axis] * x.shape[axis + 1], *x.shape[axis + 2 :]))
