"""Normalisation by the running moments of observations and of discounted returns."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import Scalar
from rpo_jax.algorithm.sharing import WHOLE, Share

_EPSILON = 1e-8


class Moments(NamedTuple):
    """Mean and variance of all samples so far, per dimension; all environments of a run share them.

    Attributes:
        mean: running mean [...].
        variance: running variance (biased) [...].
        num_samples: number of samples [].
    """

    mean: jax.Array
    variance: jax.Array
    num_samples: jax.Array


def initial_moments(shape: tuple[int, ...] = ()) -> Moments:
    """Returns the moments, of that `shape`, before any samples: mean 0 and variance 1, which change nothing."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update_moments(moments: Moments, samples: jax.Array, share: Share = WHOLE) -> Moments:
    """Merges samples into moments (Chan, Golub & LeVeque 1983).

    Args:
        moments: moments of the samples before.
        samples: this device's samples [T, N, ...].
        share: part of the environments that this device steps.

    Returns:
        The moments of all samples, of all devices.
    """
    count = samples.shape[0] * samples.shape[1] * share.count
    mean, variance = (x[0, 0] for x in share.mean_and_variance(samples, (0, 1)))
    total = moments.num_samples + count
    delta = mean - moments.mean
    fraction = count / total
    return Moments(
        mean=moments.mean + delta * fraction,
        variance=(1 - fraction) * moments.variance
        + fraction * variance
        + jnp.square(delta) * fraction * (1 - fraction),
        num_samples=total,
    )


def normalize(moments: Moments, x: jax.Array, clip: Scalar) -> jax.Array:
    """Computes `(x - mean) / sqrt(variance + 1e-8)` by `moments`, clipped to +-clip; x and result are [..., O]."""
    return jnp.clip((x - moments.mean) * jax.lax.rsqrt(moments.variance + _EPSILON), -clip, clip)


def scale_rewards(moments: Moments, rewards: jax.Array, clip: Scalar) -> jax.Array:
    """Divides rewards by the running standard deviation of the discounted return, uncentred.

    Args:
        moments: moments of the discounted return.
        rewards: rewards [T, N].
        clip: bound to which scaled rewards are clipped.

    Returns:
        Scaled rewards [T, N].
    """
    return jnp.clip(rewards * jax.lax.rsqrt(moments.variance + _EPSILON), -clip, clip)


def discounted_returns(
    before: jax.Array, rewards: jax.Array, ended: jax.Array, gamma: Scalar
) -> tuple[jax.Array, jax.Array]:
    """Computes the backward-looking return `R_t = gamma * R_{t-1} + r_t`, whose standard deviation scales the rewards.

    It is reset to 0 after every episode, terminated or truncated, as by `NormalizeReward` of Gymnasium 0.26.3. (From
    0.29 on that does not reset it where an episode is truncated.)

    Args:
        before: R of the step before the first one; 0 where that step ended an episode [N].
        rewards: rewards [T, N].
        ended: whether the step ended an episode [T, N].
        gamma: discount factor in [0, 1].

    Returns:
        The value to pass to the next update [N], and all R [T, N].
    """

    def step(carry, inputs):
        reward, end = inputs
        value = gamma * carry + reward
        return jnp.where(end, 0.0, value), value

    return jax.lax.scan(step, before, (rewards, ended), unroll=8)
