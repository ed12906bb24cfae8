"""Conditional evaluation that still skips under vmap."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rpo_jax.typing import PyTree


def where_any(function: Callable[..., jax.Array], wanted: jax.Array, *args: PyTree) -> jax.Array:
    """Evaluates `function(*args)` only if any element of `wanted` is true.

    Under `jax.vmap`, `lax.cond` evaluates both branches; this skips the call unless some member of the batch needs it.

    Args:
        function: pure function that returns one array [...] float32.
        wanted: whether each element of the result is needed, bool of any shape [...].
        *args: arguments of the function, trees of arrays.

    Returns:
        The result of the function [...], or zeros of its shape.
    """

    def evaluate(wanted, args, call, *axes):
        return jax.lax.cond(wanted.any(), call, lambda *_: jnp.zeros((*axes, *wanted.shape)), *args)

    @jax.custom_batching.custom_vmap
    def skip(wanted, args):
        return evaluate(wanted, args, function)

    @skip.def_vmap
    def _(axis_size, in_batched, wanted, args):
        axes = jax.tree.map(lambda batched: 0 if batched else None, in_batched[1])
        call = jax.vmap(function, tuple(axes), axis_size=axis_size)
        return evaluate(wanted, args, call, *([] if in_batched[0] else [axis_size])), True

    return skip(wanted, args)
