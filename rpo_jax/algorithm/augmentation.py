"""Data augmentation of state vectors, in the update only: what the paper compares RPO with (Table 1).

RAD (Laskin et al. 2020, arXiv 2004.14990): random amplitude scaling. DrAC (Raileanu et al. 2020, arXiv 2006.12862): the
loss is PPO's on what was observed, and terms ask policy and value to be the same on what is augmented.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.types import Batch, Params

if TYPE_CHECKING:
    from rpo_jax.algorithm.agent import Agent

# (hyperparams, normalised observations [B, O], unit noise U(-1, 1) [B, O]) -> observations [B, O]
Augment = Callable[[Hyperparams, jax.Array, jax.Array], jax.Array]


def scale_amplitude(hyperparams: Hyperparams, obs: jax.Array, noise: jax.Array) -> jax.Array:
    """Each number times `U(augmentation_low, augmentation_high)`: RAD's random amplitude scale (arXiv 2004.14990)."""
    low, high = hyperparams.augmentation_low, hyperparams.augmentation_high
    return jnp.multiply(obs, low + 0.5 * (high - low) * (noise + 1.0))


def drac(params: Params, agent: "Agent", batch: Batch, augmented: jax.Array, hyperparams: Hyperparams) -> jax.Array:
    """`c (-mean log pi(a | f(s)) + 1/2 mean (V(s) - V(f(s)))^2)`, V(s) constant: as RPO's authors ran DrAC with PPO.

    DrAC's paper has a KL in place of the first term: `drac_kl`.

    Args:
        params: of the actor-critic.
        agent: the static part.
        batch: [B, ...], of what was observed.
        augmented: observations f(s) [B, O].
        hyperparams: `drac_coefficient` is c.

    Returns:
        [] to be added to the loss.
    """
    log_prob = agent.head.log_prob(*agent.act(params, augmented), batch.action, agent.half_range)
    return jnp.multiply(hyperparams.drac_coefficient, _value_term(params, agent, batch, augmented) - log_prob.mean())


def drac_kl(params: Params, agent: "Agent", batch: Batch, augmented: jax.Array, hyperparams: Hyperparams) -> jax.Array:
    """`c (mean KL(pi(. | s), pi(. | f(s))) + 1/2 mean (V(s) - V(f(s)))^2)`, pi(. | s) and V(s) constant.

    DrAC as its paper has it (arXiv 2006.12862); arguments and result as of `drac`.
    """
    loc, log_scale = jax.lax.stop_gradient(agent.act(params, batch.obs))
    kl = agent.head.kl(loc, log_scale, *agent.act(params, augmented))
    return jnp.multiply(hyperparams.drac_coefficient, kl.mean() + _value_term(params, agent, batch, augmented))


def _value_term(params: Params, agent: "Agent", batch: Batch, augmented: jax.Array) -> jax.Array:
    value = jax.lax.stop_gradient(agent.value(params, batch.obs))
    return 0.5 * jnp.square(value - agent.value(params, augmented)).mean()
