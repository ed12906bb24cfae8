"""Work that is seldom needed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def where_any(function: Callable[..., jax.Array], wanted: jax.Array, *args: Any) -> jax.Array:
    """`function(*args)`, or zeros of that shape without calling it where nothing is wanted.

    Unlike `lax.cond`, it skips the call under vmap too, unless some member of the batch wants it.

    Args:
        function: of arrays; gives one.
        wanted: bool, any shape.
        *args: of the function.
    """

    def evaluate(wanted, args, call):
        shape = jax.eval_shape(call, *args)
        return jax.lax.cond(wanted.any(), call, lambda *_: jnp.zeros(shape.shape, shape.dtype), *args)

    @jax.custom_batching.custom_vmap
    def skip(wanted, args):
        return evaluate(wanted, args, function)

    @skip.def_vmap
    def _(axis_size, in_batched, wanted, args):
        axes = jax.tree.map(lambda batched: 0 if batched else None, in_batched[1])
        return evaluate(wanted, args, jax.vmap(function, tuple(axes), axis_size=axis_size)), True

    return skip(wanted, args)
