"""The available methods, as data: a `Variant` holds everything in which a method differs from PPO.

To add a method, create a `Variant` from these functions or your own. The training loop needs no change.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.augmentation import Augment, drac, drac_kl, scale_amplitude
from rpo_jax.algorithm.config import Hyperparams, Scalar, field_names
from rpo_jax.algorithm.perturbation import Noise, Width, alpha, alpha_of_range, alpha_of_scale, anneal, uniform
from rpo_jax.algorithm.types import Batch, Params
from rpo_jax.errors import SettingsError, unknown_name
from rpo_jax.registry import Registry

if TYPE_CHECKING:
    from rpo_jax.algorithm.agent import Agent

# (params, agent, minibatch [B, ...], augmented observations [B, O], hyperparams) -> term to add to the loss [].
Term = Callable[[Params, "Agent", Batch, jax.Array, Hyperparams], jax.Array]
# (hyperparams, log-scale [A]) -> log-scale [A]; applied to the initial parameters and after every optimiser step.
Constraint = Callable[[Hyperparams, jax.Array], jax.Array]
# (hyperparams, progress of the run in [0, 1]) -> hyperparams of the next update.
Schedule = Callable[[Hyperparams, Scalar], Hyperparams]


@dataclasses.dataclass(frozen=True)
class Variant:
    """The differences of a method from PPO.

    Attributes:
        name: name in tables and on the command line.
        width: function that computes the width of the perturbation `width * noise` of the location; no perturbation
            if None.
        noise: function that draws the noise of the perturbation.
        augment: function that augments observations for learning; no augmentation if None.
        augment_noise: function that draws the noise of the augmentation.
        augment_loss: whether PPO's loss uses the augmented observations, or only `term` does.
        term: function that computes a term to add to the loss; nothing is added if None.
        schedule: function that changes hyperparameters over the run, called before each update; constant if None.
        constrain: function that constrains the policy's log-scale; no constraint if None.
        hyperparams: names of the fields of `Hyperparams` that the method adds to PPO's. Other methods reject those of
            them that belong to a method of rpo_jax, such as `rpo_alpha`.
        hyperparams_type: `Hyperparams`, or a subclass with fields that only this method has, which others reject.
        check: function that raises `SettingsError` for an agent that the method cannot train.

    Raises:
        SettingsError: if there is no hyperparameter of one of these names, or the subclass is not a dataclass whose
            own fields are from `setting`.
    """

    name: str
    width: Width | None = None
    noise: Noise = uniform
    augment: Augment | None = None
    augment_noise: Noise = uniform
    augment_loss: bool = True
    term: Term | None = None
    schedule: Schedule | None = None
    constrain: Constraint | None = None
    hyperparams: tuple[str, ...] = ()
    hyperparams_type: type[Hyperparams] = Hyperparams
    check: Callable[["Agent"], None] = lambda agent: None

    def __post_init__(self) -> None:
        _check_class(self.name, self.hyperparams_type)
        for name in self.hyperparams:
            if name not in (known := field_names(self.hyperparams_type)):
                raise unknown_name(f"hyperparameter of variant {self.name}", name, known)
        for field in self.own_fields():
            if "doc" not in field.metadata:
                raise SettingsError(
                    f"hyperparameter {field.name} of variant {self.name} is not made by rpo_jax.setting"
                )
            if field.name in field_names(Hyperparams):
                raise SettingsError(
                    f"hyperparameter {field.name} of variant {self.name} belongs to Hyperparams already"
                )

    def own_fields(self) -> list[dataclasses.Field]:
        """Returns the fields that `hyperparams_type` adds to those of `Hyperparams`."""
        common = dataclasses.fields(Hyperparams)
        return [field for field in dataclasses.fields(self.hyperparams_type) if field not in common]


def _check_class(variant: str, kind: Any) -> None:
    """Raises a SettingsError if the `hyperparams_type` of a method is no subclass, or lacks its decorator."""
    if not (isinstance(kind, type) and issubclass(kind, Hyperparams)):
        raise SettingsError(f"hyperparams_type of variant {variant} is {kind!r}; give a subclass of Hyperparams")
    for name, value in (item for base in kind.__mro__ for item in vars(base).items()):
        if isinstance(value, dataclasses.Field):  # the decorator puts the default in its place
            raise SettingsError(
                f"{kind.__name__}.{name} is not a field yet: put @dataclasses.dataclass(frozen=True) above the class"
            )


def hold_log_std(hyperparams: Hyperparams, log_scale: jax.Array) -> jax.Array:
    """Returns `log_std` of `hyperparams` in place of `log_scale` [A], for the whole run."""
    return jnp.full_like(log_scale, hyperparams.log_std)


def keep_above_min_log_std(hyperparams: Hyperparams, log_scale: jax.Array) -> jax.Array:
    """Returns `log_scale` [A], or `min_log_std` of `hyperparams` where it would be below."""
    return jnp.maximum(log_scale, hyperparams.min_log_std)


def _needs_bounds(agent: "Agent") -> None:
    if not agent.env.has_finite_actions:
        raise SettingsError(
            f"variant {agent.variant.name} scales alpha by the action range, and that of {agent.env.name} is not "
            "finite; take variant rpo, whose rpo_alpha is in action units"
        )


def _needs_kl(agent: "Agent") -> None:
    zeros = jnp.zeros(agent.env.action_size)
    try:
        jax.eval_shape(agent.head.kl, *(4 * [zeros]))
    except NotImplementedError as error:
        raise SettingsError(f"variant {agent.variant.name} needs a head whose KL is known: {error}") from None


PPO = Variant("ppo")
RPO = Variant("rpo", width=alpha, schedule=anneal, hyperparams=("rpo_alpha", "rpo_alpha_end"))
RAD = Variant("rad", augment=scale_amplitude, hyperparams=("augmentation_low", "augmentation_high"))
DRAC = dataclasses.replace(
    RAD, name="drac", augment_loss=False, term=drac, hyperparams=(*RAD.hyperparams, "drac_coefficient")
)

VARIANTS: Registry[Variant] = Registry(
    "variant",
    {
        variant.name: variant
        for variant in (
            RPO,
            PPO,
            # RPO with alpha in other units.
            dataclasses.replace(RPO, name="rpo-range", width=alpha_of_range, check=_needs_bounds),
            dataclasses.replace(RPO, name="rpo-sigma", width=alpha_of_scale),
            # Baselines of the paper with data augmentation (Table 1).
            RAD,
            DRAC,
            dataclasses.replace(DRAC, name="drac-kl", term=drac_kl, check=_needs_kl),
            # PPO with a standard deviation as large as RPO's at the end of training.
            Variant("ppo-constant-std", constrain=hold_log_std, hyperparams=("log_std",)),
            Variant("ppo-min-std", constrain=keep_above_min_log_std, hyperparams=("min_log_std",)),
        )
    },
)
# All other hyperparameters are PPO's, which every method has.
_NOT_OF_PPO = {name for variant in VARIANTS.values() for name in variant.hyperparams}


def get_variant(name: str) -> Variant:
    """Returns the variant with that name.

    Args:
        name: name of a variant in `VARIANTS`.

    Returns:
        The variant.

    Raises:
        SettingsError: if no variant has that name.
    """
    return VARIANTS.find(name)


def foreign_hyperparams(variant: Variant, variants: Iterable[Variant] | None = None) -> set[str]:
    """Returns the hyperparameters of other `variants` (any of `VARIANTS` if None) that are not of `variant` or PPO."""
    variants = list(variants or VARIANTS.values())
    named = {name for other in variants for name in other.hyperparams} & _NOT_OF_PPO
    added = {field.name for other in variants for field in other.own_fields()}
    return (named | added) - {*variant.hyperparams, *(field.name for field in variant.own_fields())}
