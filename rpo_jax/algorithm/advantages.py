"""Generalised advantage estimation (GAE)."""

import chex
import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import Scalar


def generalized_advantage_estimation(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    ended: jax.Array,
    gamma: Scalar,
    gae_lambda: Scalar,
) -> tuple[jax.Array, jax.Array]:
    """Computes advantages and value targets (Schulman et al. 2016, arXiv 1506.02438, eq. 11-16).

        delta_t = r_t + gamma * (1 - terminated_t) * V(s'_t) - V(s_t)
        A_t     = delta_t + gamma * lambda * (1 - ended_t) * A_{t+1}

    `s'_t` is the true successor of step t, before any reset. A truncated episode (`ended`, but not `terminated`) is
    therefore bootstrapped from the state in which it was truncated, and the last step of the rollout needs no special
    case.

    Args:
        rewards: rewards r_t [T, N].
        values: value predictions V(s_t) [T, N].
        next_values: value predictions V(s'_t) [T, N].
        terminated: whether s'_t is terminal [T, N] bool.
        ended: whether the episode ended at step t, by termination or truncation [T, N] bool.
        gamma: discount factor in [0, 1].
        gae_lambda: lambda of the estimator, in [0, 1].

    Returns:
        Advantages A [T, N] and value targets A + V [T, N].
    """
    chex.assert_rank(rewards, 2)
    chex.assert_equal_shape([rewards, values, next_values, terminated, ended])
    deltas = rewards + gamma * jnp.where(terminated, 0.0, next_values) - values
    decays = jnp.where(ended, 0.0, gamma * gae_lambda)

    def step(advantage, inputs):
        delta, decay = inputs
        advantage = delta + decay * advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(step, jnp.zeros_like(deltas[0]), (deltas, decays), reverse=True, unroll=8)
    return advantages, advantages + values
