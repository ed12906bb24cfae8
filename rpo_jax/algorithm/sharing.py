"""A run whose environments are shared by several devices: what each device has, how it steps them, what they average.

Environments, and groups of samples, draw from keys of their own, which every device knows; shuffles are drawn whole. So
how many devices share a run changes nothing but the order in which sums are taken.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

AXIS = "environments"


@dataclasses.dataclass(frozen=True)
class Share:
    """One of `count` equal shares of a run's environments; inside a mapped axis `AXIS` where there are several.

    Attributes:
        count: shares.
        cache_bytes: environments are stepped in equal blocks whose states fill no more than this.
        chunk_size: gradients are taken of equal chunks of no more samples than this. Where no equal parts come near
            either, or it is None, all go at once.
    """

    count: int = 1
    cache_bytes: int | None = None
    chunk_size: int | None = None

    def num_blocks(self, env_state: Any) -> int:
        """The blocks in which to step environments with this state, leaves [..., N]."""
        num_envs = jax.tree.leaves(env_state)[0].shape[-1]
        if self.cache_bytes is None:
            return 1
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(env_state)) // num_envs
        return _fewest_large_parts(num_envs, most=max(1, self.cache_bytes // size))

    def part(self, x: Any, axis: int = 0, overlap: int = 0) -> Any:
        """This device's part of arrays that hold all environments along an axis, and `overlap` entries after it."""
        if self.count == 1:
            return x

        def cut(leaf):
            size = (leaf.shape[axis] - overlap) // self.count
            start = jax.lax.axis_index(AXIS) * size
            return jax.lax.dynamic_slice_in_dim(leaf, start, size + overlap, axis)

        return jax.tree.map(cut, x)

    def gather(self, x: Any, axis: int = 0) -> Any:
        """The devices' parts put together along an axis; one exchange for all the arrays of a tree."""
        if self.count == 1:
            return x

        def join(parts):  # [count, ..., N / count, ...]
            parts = jnp.moveaxis(parts, 0, axis)
            return parts.reshape((*parts.shape[:axis], -1, *parts.shape[axis + 2 :]))

        return jax.tree.map(join, self._of_all(x))

    def mean(self, x: Any) -> Any:
        """The mean over devices of what each has found in its part; one exchange for all the arrays of a tree."""
        if self.count == 1:
            return x
        flat, as_tree = ravel_pytree(x)
        return as_tree(jax.lax.pmean(flat, AXIS))

    def mean_of(self, function: Callable[..., Any], samples: tuple[Any, ...]) -> Any:
        """`mean` of what is itself a mean over samples [B, ...], taken of one chunk of this device's after another."""
        size = len(jax.tree.leaves(samples)[0])
        count = 1 if self.chunk_size is None else _fewest_large_parts(size, most=self.chunk_size)
        if count == 1:
            return self.mean(function(*samples))
        chunks = jax.tree.map(lambda x: x.reshape((count, -1, *x.shape[1:])), samples)
        means = jax.lax.map(lambda chunk: function(*chunk), chunks)
        return self.mean(jax.tree.map(lambda x: x.mean(0), means))

    def mean_and_variance(self, x: jax.Array, axis: int | tuple[int, ...] | None = None) -> tuple[jax.Array, jax.Array]:
        """Of all the entries of an array or along axes, which are kept, over all devices; in one exchange."""
        mean = x.mean(axis, keepdims=True)
        variance = jnp.square(x - mean).mean(axis, keepdims=True)
        if self.count == 1:
            return mean, variance
        means, variances = self._of_all((mean, variance))
        mean = means.mean(0)
        return mean, variances.mean(0) + jnp.square(means - mean).mean(0)

    def _of_all(self, x: Any) -> Any:
        """What each of the devices has, leaves [count, ...]."""
        flat, as_tree = ravel_pytree(x)
        return jax.vmap(as_tree)(jax.lax.all_gather(flat, AXIS))


WHOLE = Share()


def _fewest_large_parts(total: int, most: int) -> int:
    """`fewest_equal_parts`, or one where these would be crumbs: a prime number of things stays together."""
    parts = fewest_equal_parts(total, most)
    return parts if 4 * (total // parts) >= most else 1


def fewest_equal_parts(total: int, most: int) -> int:
    """Into how many equal parts to cut `total` things so that none has more than `most`; a prime falls into ones."""
    return next(parts for parts in range(-(-total // most), total + 1) if total % parts == 0)
