"""The methods that are compared, as data: a `Variant` is all in which one differs from PPO, and the loop asks only it.

A new method is a `Variant`, of these functions or of one's own.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.augmentation import Augment, drac, drac_kl, scale_amplitude
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.perturbation import Noise, Width, alpha, alpha_of_range, alpha_of_scale, uniform
from rpo_jax.algorithm.types import Batch, Params
from rpo_jax.errors import SettingsError
from rpo_jax.registry import Registry

if TYPE_CHECKING:
    from rpo_jax.algorithm.agent import Agent

# (params, agent, minibatch [B, ...], augmented observations [B, O], hyperparams) -> [] to be added to the loss.
Term = Callable[[Params, "Agent", Batch, jax.Array, Hyperparams], jax.Array]
# (hyperparams, log-scale [A]) -> log-scale [A], of the first parameters and after every step of the optimiser.
Constraint = Callable[[Hyperparams, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Variant:
    """What one method does where PPO does nothing.

    Attributes:
        name: how it is called in tables and on the command line.
        width: of the perturbation of the location, which is `width * noise`; none if None.
        noise: draws the perturbation's noise.
        augment: what the update sees in place of the observations; they themselves if None.
        term: added to the loss, and alone sees the augmented observations; if None, the loss sees them.
        constrain: the policy's log-scale.
        hyperparams: names of the hyperparameters of the method's own, which no other may be given.
        check: raises `SettingsError` for an agent that the method cannot train.
    """

    name: str
    width: Width | None = None
    noise: Noise = uniform
    augment: Augment | None = None
    term: Term | None = None
    constrain: Constraint | None = None
    hyperparams: tuple[str, ...] = ()
    check: Callable[["Agent"], None] = lambda agent: None


def hold_log_std(hyperparams: Hyperparams, log_scale: jax.Array) -> jax.Array:
    """At `log_std`, for the whole run."""
    return jnp.full_like(log_scale, hyperparams.log_std)


def keep_above_min_log_std(hyperparams: Hyperparams, log_scale: jax.Array) -> jax.Array:
    """At `min_log_std` or above."""
    return jnp.maximum(log_scale, hyperparams.min_log_std)


def _needs_bounds(agent: "Agent") -> None:
    if not agent.env.has_finite_actions:
        raise SettingsError(
            f"variant {agent.variant.name} perturbs in parts of the action range, and that of {agent.env.name} is not "
            "finite; take variant rpo, whose rpo_alpha is in action units"
        )


def _needs_kl(agent: "Agent") -> None:
    zeros = jnp.zeros(agent.env.action_size)
    try:
        jax.eval_shape(agent.head.kl, *(4 * [zeros]))
    except NotImplementedError as error:
        raise SettingsError(f"variant {agent.variant.name} needs a head whose KL is known: {error}") from None


PPO = Variant("ppo")
RPO = Variant("rpo", width=alpha, hyperparams=("rpo_alpha", "rpo_alpha_end"))
_AMPLITUDE = ("augmentation_low", "augmentation_high")

VARIANTS: Registry[Variant] = Registry(
    "variant",
    {
        variant.name: variant
        for variant in (
            RPO,
            PPO,
            # alpha in other units
            dataclasses.replace(RPO, name="rpo-range", width=alpha_of_range, check=_needs_bounds),
            dataclasses.replace(RPO, name="rpo-sigma", width=alpha_of_scale),
            # The paper's rivals with data augmentation (Table 1)
            Variant("rad", augment=scale_amplitude, hyperparams=_AMPLITUDE),
            Variant("drac", augment=scale_amplitude, term=drac, hyperparams=(*_AMPLITUDE, "drac_coefficient")),
            Variant(
                "drac-kl",
                augment=scale_amplitude,
                term=drac_kl,
                hyperparams=(*_AMPLITUDE, "drac_coefficient"),
                check=_needs_kl,
            ),
            # PPO's with as much noise as RPO ends with
            Variant("ppo-constant-std", constrain=hold_log_std, hyperparams=("log_std",)),
            Variant("ppo-min-std", constrain=keep_above_min_log_std, hyperparams=("min_log_std",)),
        )
    },
)


def get_variant(name: str) -> Variant:
    """Returns the variant of that name.

    Args:
        name: one of `VARIANTS`.

    Returns:
        The variant.

    Raises:
        SettingsError: if there is none.
    """
    return VARIANTS.find(name)


def foreign_hyperparams(variant: Variant, variants: Iterable[Variant] | None = None) -> set[str]:
    """Names of the hyperparameters that some of these variants, or any if None, have and this one has not."""
    return {name for other in variants or VARIANTS.values() for name in other.hyperparams} - set(variant.hyperparams)
