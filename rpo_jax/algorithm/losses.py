"""The loss: clipped surrogate, value loss and entropy bonus."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, Scalar
from rpo_jax.algorithm.sharing import WHOLE, Share
from rpo_jax.algorithm.types import Batch, Params

# Above this the ratio is far outside of any clipping interval, and its gradient would overflow.
MAX_LOG_RATIO = 30.0


def clipped_surrogate(ratio: jax.Array, advantage: jax.Array, clip_epsilon: Scalar) -> jax.Array:
    """Computes `-min(r * A, clip(r, 1 - eps, 1 + eps) * A)` of each sample (PPO, arXiv 1707.06347, eq. 7).

    Args:
        ratio: probability ratio r [B].
        advantage: advantage A [B].
        clip_epsilon: eps.

    Returns:
        The losses [B].
    """
    chex.assert_equal_shape([ratio, advantage])
    clipped = jnp.clip(ratio, 1.0 - clip_epsilon, 1.0 + clip_epsilon)
    return -jnp.minimum(ratio * advantage, clipped * advantage)


def squared_error(value: jax.Array, target: jax.Array) -> jax.Array:
    """Computes `1/2 (value - target)^2` [B] of inputs [B]."""
    chex.assert_equal_shape([value, target])
    return 0.5 * jnp.square(value - target)


def clipped_squared_error(value: jax.Array, old: jax.Array, target: jax.Array, clip_epsilon: Scalar) -> jax.Array:
    """Computes `1/2 max((V - target)^2, (V_old + clip(V - V_old, +-eps) - target)^2)` of each sample, as in PPO's code.

    Args:
        value: value V [B].
        old: value in the rollout, V_old [B].
        target: target of the value [B].
        clip_epsilon: eps.

    Returns:
        The losses [B].
    """
    chex.assert_equal_shape([value, old, target])
    clipped = old + jnp.clip(value - old, -clip_epsilon, clip_epsilon)
    return 0.5 * jnp.maximum(jnp.square(value - target), jnp.square(clipped - target))


def standardize(
    x: jax.Array, share: Share = WHOLE, axis: int | None = None, bessel_correction: bool = False
) -> jax.Array:
    """Scales to zero mean and unit standard deviation, over all devices' shards.

    Args:
        x: array [...].
        share: part of the environments that this device steps.
        axis: axis along which to scale; over all entries if None.
        bessel_correction: whether the deviation divides by n - 1 instead of n.

    Returns:
        Array [...].
    """
    mean, variance = share.mean_and_variance(x, axis)
    if bessel_correction:
        count = x.size // mean.size * share.count
        variance *= count / (count - 1)
    return (x - mean) / (jnp.sqrt(variance) + 1e-8)


class LossNoise(NamedTuple):
    """Unscaled random noise for the loss of a minibatch; None if the variant does not use it.

    Attributes:
        location: noise of the perturbation [B, A].
        obs: noise of the augmentation [B, O].
    """

    location: jax.Array | None = None
    obs: jax.Array | None = None


def minibatch_loss(
    params: Params, agent: Agent, batch: Batch, noise: LossNoise, hyperparams: Hyperparams
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes the loss of a minibatch: PPO's (arXiv 1707.06347), modified by the variant.

    The probability ratio divides the density of the perturbed policy, with mean `mu + z`, by that of the unperturbed
    policy that collected the rollout (Rahman & Xue 2022, Algorithm 1). Value loss, entropy and clipping are PPO's.

    Args:
        params: parameters of the actor-critic.
        agent: static part of the run, from `make_agent`.
        batch: minibatch [B, ...].
        noise: noise from `update.draw_noise`.
        hyperparams: hyperparameters; clip_epsilon, value_coefficient, entropy_coefficient and the variant's own are
            used.

    Returns:
        The loss [], and metrics [] by name.
    """
    variant, half_range = agent.variant, agent.half_range
    seen = augmented = batch.obs
    if variant.augment and noise.obs is not None:
        augmented = variant.augment(hyperparams, batch.obs, noise.obs)
        seen = augmented if variant.augment_loss else batch.obs
    loc, log_scale, value = agent.act_and_value(params, seen)
    perturbed = agent.perturb(loc, log_scale, noise.location, hyperparams)
    log_prob = agent.head.log_prob(perturbed, log_scale, batch.action, half_range)
    log_ratio = log_prob - batch.log_prob
    ratio = jnp.exp(jnp.minimum(log_ratio, MAX_LOG_RATIO))
    surrogate = clipped_surrogate(ratio, batch.advantage, hyperparams.clip_epsilon)

    if agent.config.clip_value_loss:
        error = clipped_squared_error(value, batch.value, batch.target, hyperparams.clip_epsilon)
    else:
        error = squared_error(value, batch.target)

    entropy = agent.head.entropy(loc, log_scale, half_range)
    bonus = hyperparams.entropy_coefficient * entropy.mean()
    loss = surrogate.mean() + hyperparams.value_coefficient * error.mean() - bonus
    if variant.term:
        loss += variant.term(params, agent, batch, augmented, hyperparams)
    clipped = jnp.abs(ratio - 1.0) > hyperparams.clip_epsilon
    of_samples = (surrogate, error, entropy, ratio - 1.0 - log_ratio, clipped)
    if agent.share.few_kernels:
        means = jnp.stack([jnp.broadcast_to(x, value.shape) for x in of_samples]).mean(-1)
    else:
        means = [x.mean() for x in of_samples]
    policy_loss, value_loss, entropy, kl, clip_fraction = means
    metrics = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "approx_kl": kl,
        "clip_fraction": clip_fraction,
    }
    return loss, metrics
