"""The idea of RPO: the location of the action distribution is shifted by uniform noise.

Robust Policy Optimization (Rahman & Xue 2022, arXiv 2212.07536), Algorithm 1, lines 8-9:
`z ~ U(-alpha, alpha)`, `mu' = mu + z`, one draw per sample and per action dimension, afresh for each minibatch.

A perturbation is a function `(key, shape, alpha) -> offsets` of the given shape, in raw action units; under vmap, for
the samples [T, A] of one environment when it acts, or those [n, A] of a part of a minibatch when it learns. Offsets are
added to the location: `no_perturbation` makes PPO of RPO, and so does `alpha = 0`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rpo_jax.config import Scalar

Perturbation = Callable[[jax.Array, tuple[int, ...], Scalar], jax.Array]


def uniform_perturbation(key: jax.Array, shape: tuple[int, ...], alpha: Scalar) -> jax.Array:
    """Offsets `z ~ U(-alpha, alpha)`; drawn as `alpha * U(-1, 1)`, so that `alpha = 0` gives exact zeros."""
    # As a vector, for which XLA makes less code.
    z = jax.random.uniform(key, (math.prod(shape),), minval=-1.0, maxval=1.0)
    return jnp.multiply(alpha, z).reshape(shape)


def no_perturbation(key: jax.Array, shape: tuple[int, ...], alpha: Scalar) -> jax.Array:
    """No offsets: PPO."""
    return jnp.zeros(shape)
