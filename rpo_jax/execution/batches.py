"""Batches of runs: mapped one after another, and joined."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.typing import PyTree

Tree = TypeVar("Tree")


def map_in_batches(function: Callable[[PyTree], Tree], xs: PyTree, batch_size: int) -> Tree:
    """Maps a function over the first axis, with vmap over batches that are processed one after another.

    Args:
        function: pure function of a tree of arrays.
        xs: arguments, leaves [size, ...].
        batch_size: number of elements in a batch.

    Returns:
        Results, leaves [size, ...].
    """
    size = len(jax.tree.leaves(xs)[0])
    if batch_size == 1 and size == 1:
        return jax.tree.map(lambda x: x[None], function(jax.tree.map(lambda x: x[0], xs)))
    if batch_size == size:
        return jax.vmap(function)(xs)
    return jax.lax.map(function, xs, batch_size=batch_size if batch_size > 1 else None)


def join_runs(batches: Sequence[Tree], num_runs: int) -> Tree:
    """Concatenates batches of runs, and removes the padding of the last.

    Args:
        batches: batches, leaves [R, ...].
        num_runs: number of runs in all batches, without padding.

    Returns:
        Leaves [num_runs, ...].
    """
    return jax.tree.map(lambda *parts: numpy_of(parts[0]).concatenate(parts)[:num_runs], *batches)


def numpy_of(x: Any) -> Any:
    """Returns `jnp` if `x` is an array of JAX, such as of random keys, and `np` otherwise."""
    return jnp if isinstance(x, jax.Array) else np
