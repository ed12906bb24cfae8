"""The outputs of a loop kept as one array: on a GPU, each array that a step writes launches a kernel."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rpo_jax.typing import PyTree

Step = Callable[..., tuple[PyTree, PyTree]]


def packed(step: Step) -> tuple[Step, Callable[[PyTree], PyTree]]:
    """Changes the body of a scan so that its outputs are packed into one array, bit by bit.

    Args:
        step: `(carry, input, ...) -> (carry, outputs)`, with outputs of N environments, leaves [N, ...].

    Returns:
        The changed step, whose outputs are [N, F] uint32, and a function that unpacks those of all steps, [T, N, F] to
        leaves [T, N, ...]. Outputs that are not booleans or numbers of 32 bits are left as they are.
    """
    shapes: list[PyTree] = []

    def run(*args: PyTree, **more: PyTree) -> tuple[PyTree, PyTree]:
        carry, outputs = step(*args, **more)
        if any(x.dtype not in (jnp.bool_, jnp.float32, jnp.int32, jnp.uint32) for x in jax.tree.leaves(outputs)):
            return carry, outputs
        shapes.append(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), outputs))
        return carry, _pack(outputs)

    return run, lambda outputs: _unpack(outputs, shapes[-1]) if shapes else outputs


def _pack(tree: PyTree) -> jax.Array:
    bits = [x.astype(jnp.uint32) if x.dtype == bool else _bits(x, jnp.uint32) for x in jax.tree.leaves(tree)]
    return jnp.concatenate([x.reshape((len(x), -1)) for x in bits], axis=1)


def _unpack(rows: jax.Array, like: PyTree) -> PyTree:
    leaves, structure = jax.tree.flatten(like)
    found, first = [], 0
    for leaf in leaves:
        size = math.prod(leaf.shape[1:])
        bits = rows[..., first : first + size].reshape((*rows.shape[:-1], *leaf.shape[1:]))
        found.append(bits.astype(bool) if leaf.dtype == bool else _bits(bits, leaf.dtype))
        first += size
    return jax.tree.unflatten(structure, found)


_bits = jax.lax.bitcast_convert_type
