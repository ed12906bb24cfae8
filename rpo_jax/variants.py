"""Variants of the method, as data: what the comparisons of the paper differ in."""

from typing import NamedTuple

from rpo_jax.errors import unknown_name
from rpo_jax.perturbation import Perturbation, no_perturbation, uniform_perturbation


class Variant(NamedTuple):
    """What one method does where PPO does nothing.

    Attributes:
        name: how it is called in tables and on the command line.
        perturb: shift of the action distribution's location.
    """

    name: str
    perturb: Perturbation = no_perturbation


PPO = Variant("ppo")
RPO = Variant("rpo", perturb=uniform_perturbation)

VARIANTS = {variant.name: variant for variant in (RPO, PPO)}


def get_variant(name: str) -> Variant:
    """The variant of that name.

    Raises:
        SettingsError: if there is none.
    """
    if name not in VARIANTS:
        raise unknown_name("variant", name, VARIANTS)
    return VARIANTS[name]
