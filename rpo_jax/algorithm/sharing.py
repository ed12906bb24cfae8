"""Sharding of a run's environments over several devices, and the collective operations between them.

Every environment and every group of samples has its own random key, known to all devices, and each device draws the
complete shuffle. The number of devices therefore changes nothing but the order of summation.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rpo_jax.algorithm.axes import join_axis, split_axis
from rpo_jax.typing import PyTree

AXIS = "environments"

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Share:
    """One of `count` equal shards of a run's environments. Several shards are mapped over the axis `AXIS`.

    Attributes:
        count: number of shards.
        cache_bytes: largest size of the states of a block of environments; equal blocks are stepped one at a time. One
            block if None, or if no equal blocks come close to this size.
        chunk_size: largest number of samples in a chunk; gradients are computed for one equal chunk at a time. One
            chunk if None, or if no equal chunks come close to this size.
        values_at_once: largest number of samples whose values are computed at a time, but at least those of one step.
            All if None.
        in_stages: whether a rollout is complete before learning from it begins, which needs less memory.
        few_kernels: whether to keep arrays together and to join products, as for a device that launches a kernel for
            each operation.
        gradient_parts: largest number of parts of a minibatch over which gradients are summed apart, and then together,
            with `few_kernels`.
        joined_rows: whether the arrays of rows that are shuffled are one, as for a device that pads short rows.
    """

    count: int = 1
    cache_bytes: int | None = None
    chunk_size: int | None = None
    values_at_once: int | None = None
    in_stages: bool = False
    few_kernels: bool = False
    gradient_parts: int = 1
    joined_rows: bool = False

    def num_blocks(self, env_state: PyTree) -> int:
        """Returns the number of blocks in which to step environments whose state is `env_state`, leaves [..., N]."""
        leaves = jax.tree.leaves(env_state)
        if self.cache_bytes is None or not leaves:
            return 1
        num_envs = leaves[0].shape[-1]
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) // num_envs
        return fewest_large_parts(num_envs, most=max(1, self.cache_bytes // size))

    def part(self, x: PyTree, axis: int = 0, overlap: int = 0) -> PyTree:
        """Returns this device's part of arrays `x` along the `axis` of environments, and `overlap` entries after it."""
        if self.count == 1:
            return x

        def cut(leaf):
            size = (leaf.shape[axis] - overlap) // self.count
            start = jax.lax.axis_index(AXIS) * size
            return jax.lax.dynamic_slice_in_dim(leaf, start, size + overlap, axis)

        return jax.tree.map(cut, x)

    def gather(self, x: PyTree, axis: int = 0) -> PyTree:
        """Concatenates the devices' parts `x` along an `axis`, with one exchange for all arrays of a tree."""
        if self.count == 1:
            return x
        return jax.tree.map(lambda parts: join_axis(parts, axis), self._of_all(x))

    def map_values(self, function: Callable[[jax.Array], jax.Array], obs: jax.Array) -> jax.Array:
        """Returns the values [T, N] that a `function` computes of observations [..., O], for `obs` [T, N, O]."""
        num_steps, num_envs, _ = obs.shape
        if self.values_at_once is None or self.values_at_once >= num_steps * num_envs:
            return function(obs)
        return jax.lax.map(function, obs, batch_size=max(1, self.values_at_once // num_envs))

    def finish(self, x: Tree) -> Tree:
        """Returns `x`, which is computed as a whole before any of it is used, if training is `in_stages`.

        XLA might otherwise keep what `x` is made of, such as a rollout, until the last use of `x`.
        """
        return jax.lax.optimization_barrier(x) if self.in_stages else x

    def mean(self, x: PyTree) -> PyTree:
        """Averages the arrays of a tree `x` over devices, with one exchange for all of them."""
        if self.count == 1:
            return x
        flat, as_tree = ravel_pytree(x)
        return as_tree(jax.lax.pmean(flat, AXIS))

    def mean_of(self, function: Callable[..., PyTree], samples: Sequence[PyTree]) -> PyTree:
        """Averages over devices the results of a `function` that is a mean over `samples` [B, ...].

        Each device computes one chunk of its samples at a time.
        """
        size = len(jax.tree.leaves(samples)[0])
        count = 1 if self.chunk_size is None else fewest_large_parts(size, most=self.chunk_size)
        if count == 1:
            return self.mean(function(*samples))
        chunks = jax.tree.map(lambda x: split_axis(x, 0, count), samples)
        means = jax.lax.map(lambda chunk: function(*chunk), chunks)
        return self.mean(jax.tree.map(lambda x: x.mean(0), means))

    def mean_and_variance(self, x: jax.Array, axis: int | tuple[int, ...] | None = None) -> tuple[jax.Array, jax.Array]:
        """Computes mean and variance over all devices, with one exchange.

        Args:
            x: this device's part of an array [...].
            axis: axes over which to compute them; all if None.

        Returns:
            Mean and variance [...], in which these axes have length 1.
        """
        mean = x.mean(axis, keepdims=True)
        variance = jnp.square(x - mean).mean(axis, keepdims=True)
        if self.count == 1:
            return mean, variance
        means, variances = self._of_all((mean, variance))
        mean = means.mean(0)
        return mean, variances.mean(0) + jnp.square(means - mean).mean(0)

    def _of_all(self, x: PyTree) -> PyTree:
        """Gathers the values of all devices, leaves [count, ...]."""
        flat, as_tree = ravel_pytree(x)
        return jax.vmap(as_tree)(jax.lax.all_gather(flat, AXIS))


WHOLE = Share()


def fewest_large_parts(total: int, most: int) -> int:
    """Returns `fewest_equal_parts`, or 1 if parts would be smaller than a quarter of `most`, as for a prime total."""
    parts = fewest_equal_parts(total, most)
    return parts if 4 * (total // parts) >= most else 1


def fewest_equal_parts(total: int, most: int) -> int:
    """Returns the smallest number of equal parts of `total` items with at `most` so many items each.

    A prime total above that is divided into single items.
    """
    return next(parts for parts in range(-(-total // most), total + 1) if total % parts == 0)
