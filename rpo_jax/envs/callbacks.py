"""Functions of NumPy arrays on the host, called from compiled programs."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jax.experimental.buffer_callback import buffer_callback

MOST_BYTES = 2**16  # of one callback argument; XLA copies up to 100 kB synchronously


def make_callback(
    function: Callable[..., tuple[np.ndarray, ...]], results: Sequence[tuple[tuple[int, ...], np.typing.DTypeLike]]
) -> Callable[..., tuple[jax.Array, ...]]:
    """Makes a function of a host, of NumPy arrays [n, ...], callable from compiled programs.

    Under vmap it is called once with all arrays concatenated, not once for each.

    Args:
        function: `arrays [n, ...] -> tuple of arrays [n, ...]`.
        results: shape without n, and dtype, of each result.

    Returns:
        The same function of JAX arrays.
    """

    def in_place(_: object, out: Sequence[np.typing.ArrayLike], *args: np.typing.ArrayLike) -> None:
        # The arguments are copied, since XLA reuses their memory once this returns.
        for to, array in zip(out, function(*(np.asarray(x).copy() for x in args)), strict=True):
            np.asarray(to)[...] = array

    def on_host(*args: list[jax.Array]) -> tuple[np.ndarray, ...]:
        return function(*(np.concatenate([np.asarray(piece) for piece in pieces]) for pieces in args))

    @jax.custom_batching.custom_vmap
    def call(*args: jax.Array) -> tuple[jax.Array, ...]:
        shapes = tuple(jax.ShapeDtypeStruct((len(args[0]), *shape), dtype) for shape, dtype in results)

        def call_with_copies(*args: jax.Array) -> tuple[jax.Array, ...]:
            return tuple(io_callback(on_host, shapes, *map(_split_into_pieces, args)))

        if not _on_one_device():
            return call_with_copies(*args)
        # Twelve times as fast, and synchronous; but XLA cannot partition a program around it.
        call_in_place = buffer_callback(in_place, shapes, has_side_effect=True)
        return jax.lax.platform_dependent(*args, cpu=call_in_place, default=call_with_copies)

    @call.def_vmap
    def call_once(
        size: int, is_batched: Sequence[bool], *args: jax.Array
    ) -> tuple[tuple[jax.Array, ...], tuple[bool, ...]]:
        batched = [x if own else jnp.broadcast_to(x, (size, *x.shape)) for x, own in zip(args, is_batched, strict=True)]
        joined = call(*(x.reshape((-1, *x.shape[2:])) for x in batched))
        split = tuple(x.reshape((size, -1, *x.shape[1:])) for x in joined)
        return split, (True,) * len(split)

    return call


def _on_one_device() -> bool:
    """Whether the program being traced runs on a single device, also as the body of a `shard_map`."""
    return jax.device_count() == 1 or bool(jax.sharding.get_abstract_mesh().manual_axes)


def _split_into_pieces(x: jax.Array) -> list[jax.Array]:
    """Cuts an array [n, ...] into pieces that are small enough to be copied to the host synchronously.

    JAX copies larger arrays on a thread of a pool. If that is the thread that waits for the callback, it deadlocks.
    """
    rows = max(1, MOST_BYTES // (x[:1].size * x.dtype.itemsize))
    return [x[first : first + rows] for first in range(0, len(x), rows)]
