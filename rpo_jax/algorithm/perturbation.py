"""The idea of RPO: in the update the location of the action distribution is shifted by noise.

Robust Policy Optimization (Rahman & Xue 2022, arXiv 2212.07536), Algorithm 1, lines 8-9:
`z ~ U(-alpha, alpha)`, `mu' = mu + z`, one draw per sample and per action dimension, afresh for each minibatch.

Here `z = width * noise`: a *noise* function draws numbers without a unit, before the minibatches; a *width* function
scales them in the loss, so that it may depend on the policy's present scale.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import Hyperparams, Scalar

# (key, shape) -> noise of that shape; under vmap, [T, A] of one environment, or [n, A] of a part of a minibatch.
Noise = Callable[[jax.Array, tuple[int, ...]], jax.Array]
# (hyperparams, scale [..., A] of the policy, half of the action range [A]) -> width [], [A] or [..., A], action units.
Width = Callable[[Hyperparams, jax.Array, jax.Array], Scalar]


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """`U(-1, 1)` (arXiv 2212.07536, Algorithm 1, line 8, for alpha 1)."""
    # As a vector, for which XLA makes less code.
    return jax.random.uniform(key, (math.prod(shape),), minval=-1.0, maxval=1.0).reshape(shape)


def alpha(hyperparams: Hyperparams, scale: jax.Array, half_range: jax.Array) -> Scalar:
    """`rpo_alpha`, in raw action units: the paper's."""
    return hyperparams.rpo_alpha


def alpha_of_range(hyperparams: Hyperparams, scale: jax.Array, half_range: jax.Array) -> jax.Array:
    """`rpo_alpha` times half of the action range: the same number means the same for actions in +-0.4 and +-2."""
    return jnp.multiply(hyperparams.rpo_alpha, half_range)


def alpha_of_scale(hyperparams: Hyperparams, scale: jax.Array, half_range: jax.Array) -> jax.Array:
    """`rpo_alpha` times the policy's present scale, through which no gradient goes."""
    return jnp.multiply(hyperparams.rpo_alpha, jax.lax.stop_gradient(scale))


def anneal(hyperparams: Hyperparams, progress: Scalar) -> Hyperparams:
    """With the `rpo_alpha` of a run of which that part [0, 1] is done: on a line to `rpo_alpha_end`, if it is given."""
    end = hyperparams.rpo_alpha_end
    if end is None:
        return hyperparams
    start = hyperparams.rpo_alpha
    return dataclasses.replace(hyperparams, rpo_alpha=start + (end - start) * jnp.minimum(progress, 1.0))
