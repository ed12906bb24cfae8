"""Running moments of observations and of discounted returns."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import Scalar
from rpo_jax.algorithm.sharing import WHOLE, Share

_EPSILON = 1e-8


class Moments(NamedTuple):
    """Mean and variance of all the samples so far; one per dimension, shared by every environment of a run.

    Attributes:
        mean: [...] running mean.
        variance: [...] running variance (biased).
        num_samples: [].
    """

    mean: jax.Array
    variance: jax.Array
    num_samples: jax.Array


def initial_moments(shape: tuple[int, ...] = ()) -> Moments:
    """Moments of no samples: normalising by them leaves a value as it is."""
    return Moments(jnp.zeros(shape), jnp.ones(shape), jnp.zeros(()))


def update_moments(moments: Moments, samples: jax.Array, share: Share = WHOLE) -> Moments:
    """Merges samples [T, N, ...] into the moments (Chan, Golub & LeVeque 1983)."""
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
    """`(x - mean) / sqrt(variance + 1e-8)`, clipped to +-clip; x: [..., O]."""
    return jnp.clip((x - moments.mean) * jax.lax.rsqrt(moments.variance + _EPSILON), -clip, clip)


def scale_rewards(moments: Moments, rewards: jax.Array, clip: Scalar) -> jax.Array:
    """Rewards over the running deviation of the discounted return, not centred, clipped to +-clip."""
    return jnp.clip(rewards * jax.lax.rsqrt(moments.variance + _EPSILON), -clip, clip)


def discounted_returns(
    before: jax.Array, rewards: jax.Array, ended: jax.Array, gamma: Scalar
) -> tuple[jax.Array, jax.Array]:
    """The backward-looking return `R_t = gamma * R_{t-1} + r_t` whose deviation scales the rewards.

    It starts again at 0 after the end of an episode, whatever ended it, as in Gym's `NormalizeReward`.

    Args:
        before: R of the step before the first, 0 where that one ended an episode [N].
        rewards: [T, N].
        ended: whether the step ended an episode [T, N].
        gamma: discount in [0, 1].

    Returns:
        The value to carry to the next round [N], and all R [T, N].
    """

    def step(carry, inputs):
        reward, end = inputs
        value = gamma * carry + reward
        return jnp.where(end, 0.0, value), value

    return jax.lax.scan(step, before, (rewards, ended), unroll=8)
