"""Registration of user-defined environments, variants, heads and networks."""

import dataclasses
from collections.abc import Callable
from typing import Any

from rpo_jax.algorithm.config import TrainConfig, field_names
from rpo_jax.algorithm.heads import HEADS, Head
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.algorithm.networks import NETWORKS
from rpo_jax.algorithm.variants import VARIANTS, Variant
from rpo_jax.envs import ENVIRONMENTS, SUITES
from rpo_jax.errors import SettingsError, unknown_name
from rpo_jax.settings.spec import RunSpec

_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "environment": ("a function () -> Environment", callable),
    "variant": ("a Variant", lambda thing: isinstance(thing, Variant)),
    "head": ("a Head", lambda thing: isinstance(thing, Head)),
    "network": ("a function (Environment, TrainConfig) -> flax module", callable),
}
# Names that a hyperparameter of a user cannot have.
_TAKEN = {
    *field_names(TrainConfig),
    *field_names(RunSpec),
    *("num_seeds", "first_seed", "settings", "rows"),  # arguments of `make_spec`
    *("variants", "env_arg", "out", "runs_at_once", "logger", "compilation_cache", "imports", "help"),  # options
    *("stop_at_return", "dry_run", "distributed"),
    # of `search`
    *("over", "num_settings", "budget", "halvings", "finalists", "final_seeds", "draw", "sampler", "batches"),
    *("setting", "seed", "update", "step", *METRICS),  # columns of tables
    *("return_mean", "return_std", "return_min", "return_max"),
}


def register(kind: str, name: str, thing: Any) -> None:
    """Registers an environment, variant, head or network of your own under a name.

    `make_env`, `make_spec`, the command line and run folders then accept the name. With `--import my_module`, the
    command imports the module that calls `register`. An installed package can instead list its module as an entry point
    of the group `rpo_jax`.

    Args:
        kind: "environment", "variant", "head" or "network".
        name: name of letters, digits and `._-`; for an environment suite/id, such as "mine/slide". Replaces what was
            registered under that name before.
        thing: for an environment, a function that creates an `Environment`; for a variant, a `Variant`; for a head, a
            `Head`; for a network, a function of an `Environment` and a `TrainConfig` that creates a network as
            described in `make_agent`.

    Raises:
        SettingsError: if the kind is unknown, the object is not of that kind, or the name, or that of a hyperparameter
            of a variant, is one that rpo_jax uses already.
    """
    if kind not in _EXPECTED:
        raise unknown_name("kind", kind, _EXPECTED)
    expected, fits = _EXPECTED[kind]
    if not fits(thing):
        raise SettingsError(f"register({kind!r}, {name!r}, ...) needs {expected}, and got {type(thing).__name__}")
    if kind == "environment":
        if name.partition("/")[0] in SUITES:
            raise SettingsError(f"environments called {name.partition('/')[0]}/... belong to rpo_jax; choose another")
        ENVIRONMENTS.add(name, thing, pattern=r"[\w.-]+/[\w.-]+")
    elif kind == "variant":
        _check_fields(thing)
        VARIANTS.add(name, dataclasses.replace(thing, name=name))
    else:
        {"head": HEADS, "network": NETWORKS}[kind].add(name, thing)


def _check_fields(variant: Variant) -> None:
    """Raises a SettingsError if a hyperparameter of a user has the name of another setting, an option or a column."""
    for field in variant.own_fields():
        if field.name in _TAKEN:
            raise SettingsError(
                f"hyperparameter {field.name} of variant {variant.name} has a name that rpo_jax uses already; choose "
                "another"
            )
