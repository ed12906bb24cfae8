"""Data augmentation of observations, during learning only: the baselines of the RPO paper (Table 1).

RAD (Laskin et al. 2020, arXiv 2004.14990) scales observations by random amplitudes. DrAC (Raileanu et al. 2020,
arXiv 2006.12862) keeps PPO's loss on the original observations, and adds terms that make the policy and the value of
augmented observations match those of the original ones.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.types import Batch, Params

if TYPE_CHECKING:
    from rpo_jax.algorithm.agent import Agent

# (hyperparams, normalised observations [B, O], noise [B, O]) -> observations [B, O]
Augment = Callable[[Hyperparams, jax.Array, jax.Array], jax.Array]


def scale_amplitude(hyperparams: Hyperparams, obs: jax.Array, noise: jax.Array) -> jax.Array:
    """Multiplies each number by its own draw from `U(augmentation_low, augmentation_high)` (RAD, arXiv 2004.14990).

    Args:
        hyperparams: hyperparameters of one run, scalars [].
        obs: observations [B, O].
        noise: `U(-1, 1)` noise [B, O].

    Returns:
        Augmented observations [B, O].
    """
    low, high = hyperparams.augmentation_low, hyperparams.augmentation_high
    return jnp.multiply(obs, low + 0.5 * (high - low) * (noise + 1.0))


def drac(params: Params, agent: "Agent", batch: Batch, augmented: jax.Array, hyperparams: Hyperparams) -> jax.Array:
    """Computes `c (-mean log pi(a | f(s)) + 1/2 mean (V(s) - V(f(s)))^2)`; no gradient flows through V(s).

    This is DrAC as the authors of RPO ran it. DrAC's own paper has a KL divergence as the first term; see `drac_kl`.

    Args:
        params: parameters of the actor-critic.
        agent: static part of the run, from `make_agent`.
        batch: minibatch with the original observations s [B, ...].
        augmented: augmented observations f(s) [B, O].
        hyperparams: hyperparameters; `drac_coefficient` is c.

    Returns:
        The term to add to the loss [].
    """
    log_prob = agent.head.log_prob(*agent.act(params, augmented), batch.action, agent.half_range)
    return jnp.multiply(hyperparams.drac_coefficient, _value_term(params, agent, batch, augmented) - log_prob.mean())


def drac_kl(params: Params, agent: "Agent", batch: Batch, augmented: jax.Array, hyperparams: Hyperparams) -> jax.Array:
    """Computes `c (mean KL(pi(. | s), pi(. | f(s))) + 1/2 mean (V(s) - V(f(s)))^2)`.

    No gradient flows through pi(. | s) and V(s). This is DrAC as in its paper (arXiv 2006.12862).

    Args:
        params: parameters of the actor-critic.
        agent: static part of the run, from `make_agent`.
        batch: minibatch with the original observations s [B, ...].
        augmented: augmented observations f(s) [B, O].
        hyperparams: hyperparameters; `drac_coefficient` is c.

    Returns:
        The term to add to the loss [].
    """
    loc, log_scale = jax.lax.stop_gradient(agent.act(params, batch.obs))
    kl = agent.head.kl(loc, log_scale, *agent.act(params, augmented))
    return jnp.multiply(hyperparams.drac_coefficient, kl.mean() + _value_term(params, agent, batch, augmented))


def _value_term(params: Params, agent: "Agent", batch: Batch, augmented: jax.Array) -> jax.Array:
    value = jax.lax.stop_gradient(agent.value(params, batch.obs))
    return 0.5 * jnp.square(value - agent.value(params, augmented)).mean()
