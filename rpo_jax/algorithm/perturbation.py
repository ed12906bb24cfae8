"""The perturbation of RPO: during learning, noise shifts the location of the action distribution.

Robust Policy Optimization (Rahman & Xue 2022, arXiv 2212.07536), Algorithm 1, lines 8-9:
`z ~ U(-alpha, alpha)`, `mu' = mu + z`, drawn anew per sample and action dimension for each minibatch.

Here `z = width * noise`: a *noise* function draws unitless numbers before the minibatches are processed; a *width*
function scales them inside the loss, so that the width can depend on the policy's current scale.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import Hyperparams, Scalar

# (key, shape) -> noise of that shape. Called under vmap: [T, A] for an environment, [n, A] for a part of a minibatch.
Noise = Callable[[jax.Array, tuple[int, ...]], jax.Array]
# (hyperparams, policy's scale [..., A], half of the action range [A]) -> width [], [A] or [..., A], in action units.
Width = Callable[[Hyperparams, jax.Array, jax.Array], Scalar]


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws from `U(-1, 1)` by `key`, in any `shape` [...] (arXiv 2212.07536, Algorithm 1, line 8, for alpha 1)."""
    # Drawn as a vector, for which XLA generates less code.
    return jax.random.uniform(key, (math.prod(shape),), minval=-1.0, maxval=1.0).reshape(shape)


def alpha(hyperparams: Hyperparams, scale: jax.Array, half_range: jax.Array) -> Scalar:
    """Returns `rpo_alpha`, in raw action units, as in the paper.

    Args:
        hyperparams: hyperparameters of one run, scalars [].
        scale: the policy's scale [..., A]; does not count.
        half_range: half of the action range [A]; does not count.

    Returns:
        The width [].
    """
    return hyperparams.rpo_alpha


def alpha_of_range(hyperparams: Hyperparams, scale: jax.Array, half_range: jax.Array) -> jax.Array:
    """Returns `rpo_alpha` times half of the action range, so that one value suits actions in +-0.4 and in +-2.

    Args:
        hyperparams: hyperparameters of one run, scalars [].
        scale: the policy's scale [..., A]; does not count.
        half_range: half of the action range [A].

    Returns:
        The width [A].
    """
    return jnp.multiply(hyperparams.rpo_alpha, half_range)


def alpha_of_scale(hyperparams: Hyperparams, scale: jax.Array, half_range: jax.Array) -> jax.Array:
    """Returns `rpo_alpha` times the policy's current scale; no gradient flows through the scale.

    Args:
        hyperparams: hyperparameters of one run, scalars [].
        scale: the policy's scale, [A] or [..., A].
        half_range: half of the action range [A]; does not count.

    Returns:
        The width, shaped as the scale [..., A].
    """
    return jnp.multiply(hyperparams.rpo_alpha, jax.lax.stop_gradient(scale))


def anneal(hyperparams: Hyperparams, progress: Scalar) -> Hyperparams:
    """Interpolates `rpo_alpha` of `hyperparams` linearly towards `rpo_alpha_end`, if given, by `progress` in [0, 1]."""
    end = hyperparams.rpo_alpha_end
    if end is None:
        return hyperparams
    start = hyperparams.rpo_alpha
    return dataclasses.replace(hyperparams, rpo_alpha=start + (end - start) * jnp.minimum(progress, 1.0))
