"""The specification of a run, shared by commands, scripts and run folders."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent, make_agent
from rpo_jax.algorithm.config import Hyperparams, TrainConfig, field_names
from rpo_jax.algorithm.heads import HEADS, get_head
from rpo_jax.algorithm.networks import NETWORKS
from rpo_jax.algorithm.variants import VARIANTS, foreign_hyperparams, get_variant
from rpo_jax.envs import ENVIRONMENTS, SUITES, make_env
from rpo_jax.errors import SettingsError
from rpo_jax.registry import Registry
from rpo_jax.settings.grid import check_seeds, grid, seeds, settings_from, settings_list
from rpo_jax.settings.presets import get_preset, override
from rpo_jax.settings.shards import Shard


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """The complete specification of a run.

    Attributes:
        env: name of the environment, such as "gymnax/Pendulum-v1".
        variant: name of the variant.
        preset: name of the preset on which the settings are based.
        head: name of the action head.
        time_limit: treatment of time limits, "bootstrap" or "terminate".
        backend: physics backend of Brax; None for other suites.
        num_threads: threads of EnvPool's pool on each device; if None, the CPU cores are divided among devices.
        network: name of the network.
        init_from: label of the trained policy from which all runs start, such as "runs/hopper: seed 3"; None if there
            is none.
        config: static settings.
        hyperparams: hyperparameter settings, leaves [H].
        seeds: the seeds [S].
        env_args: arguments of the environment itself by name, as of `make_env`.
        num_evaluations: number of evaluations during training, evenly spaced.
        evaluation_episodes: episodes of each policy per evaluation.
        shard: which part of a sweep it is, from `shard_spec`; None for a whole one.
    """

    env: str
    variant: str
    preset: str
    head: str
    time_limit: str
    backend: str | None
    config: TrainConfig
    hyperparams: Hyperparams
    seeds: list[int]
    num_evaluations: int = 0
    evaluation_episodes: int = 16
    num_threads: int | None = None
    network: str = "mlp"
    init_from: str | None = None
    env_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shard: Shard | None = None

    def __post_init__(self) -> None:
        for name, least in (("num_evaluations", 0), ("evaluation_episodes", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise SettingsError(f"{name}={value!r} is out of range: it must be a whole number, {least} or more")
        object.__setattr__(self, "env_args", _as_stored(self.env_args))

    def agent(self) -> Agent:
        """Creates the agent that this describes.

        Raises:
            SettingsError: if a name is unknown, or settings do not fit the environment.
        """
        options = {"backend": self.backend, "num_threads": self.num_threads, **self.env_args}
        env = make_env(self.env, time_limit=self.time_limit, **options)
        network = None if self.network == "mlp" else NETWORKS.find(self.network)(env, self.config)
        return make_agent(env, get_variant(self.variant), self.config, get_head(self.head), network)

    def keys(self) -> jax.Array:
        """Returns the random keys of the seeds [S]."""
        return seeds(self.seeds[0], len(self.seeds))

    def imports(self) -> list[str]:
        """Returns the modules that registered the user-defined names of this specification."""
        named = names_by_registry(self.env, self.variant, self.head, self.network)
        return sorted({origin for registry, name in named if (origin := registry.origin(name))})


def _as_stored(env_args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns arguments of an environment as they are read back from settings.json."""
    for name in ("backend", "batching", "num_threads", "time_limit"):
        if name in env_args:
            raise SettingsError(f"{name} is an option of make_env, and not an argument of the environment itself")
    try:
        return json.loads(json.dumps(dict(env_args), allow_nan=False))
    except (TypeError, ValueError):
        raise SettingsError(
            f"env_args={dict(env_args)!r} cannot be stored; give finite numbers, bools, text, or lists of them"
        ) from None


def names_by_registry(env: str, variant: str, head: str, network: str) -> list[tuple[Registry[Any], str]]:
    """Returns the registry of each name; not of an environment of a suite, which none has.

    Args:
        env: name of the environment.
        variant: name of the variant.
        head: name of the action head.
        network: name of the network.
    """
    named: list[tuple[Registry[Any], str]] = [(VARIANTS, variant), (HEADS, head), (NETWORKS, network)]
    return named if env.partition("/")[0] in SUITES else [*named, (ENVIRONMENTS, env)]


def make_spec(
    env: str,
    variant: str = "rpo",
    preset: str = "fast",
    *,
    num_seeds: int = 8,
    first_seed: int = 0,
    head: str | None = None,
    network: str = "mlp",
    time_limit: str | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
    env_args: Mapping[str, Any] | None = None,
    num_evaluations: int = 0,
    evaluation_episodes: int = 16,
    rows: Sequence[Mapping[str, float]] | None = None,
    **settings: Any,
) -> RunSpec:
    """Creates the specification of a run from a preset and changes to it.

    Args:
        env: name of the environment, such as "gymnax/Pendulum-v1".
        variant: name of the variant.
        preset: name of a preset, such as "fast".
        num_seeds: number of seeds, S.
        first_seed: the first seed.
        head: name of the action head; the preset's if None.
        network: name of the network.
        time_limit: treatment of time limits, "bootstrap" or "terminate"; the preset's if None.
        backend: physics backend, for Brax only.
        num_threads: threads of the pool on each device, for EnvPool only.
        env_args: arguments of the environment itself by name, as of `make_env`: numbers, bools, text, or lists of them.
        num_evaluations: number of evaluations during training, evenly spaced over the updates.
        evaluation_episodes: episodes of each policy per evaluation.
        rows: settings of the sweep, as `settings_from` and `read_table` have them, for one that is no grid.
        **settings: fields of `TrainConfig` and of the variant's hyperparameters; several values for one of the latter
            make a sweep.

    Returns:
        The specification. `fit` and `sweep` take its `agent()`.

    Raises:
        SettingsError: if a setting is invalid or does not fit the others; raised before anything is compiled.
    """
    method = get_variant(variant)
    for name in sorted(foreign_hyperparams(method) & {*settings, *(rows[0] if rows else ())}):
        raise SettingsError(f"{name} has no effect on variant {variant}; leave it out")
    base = get_preset(preset, env)
    base = base._replace(hyperparams=method.hyperparams_type(**vars(base.hyperparams)))
    numbers = {name: settings.pop(name) for name in field_names(base.hyperparams) if name in settings}
    if method.width is None and "rpo_alpha" not in method.hyperparams:
        numbers["rpo_alpha"] = 0.0
    base = override(base, settings)
    hyperparams = grid(base.hyperparams, **numbers) if rows is None else _join(base.hyperparams, numbers, rows)
    check_seeds(first_seed, num_seeds)
    spec = RunSpec(
        env=env,
        variant=variant,
        preset=preset,
        head=base.head if head is None else head,
        time_limit=base.time_limit if time_limit is None else time_limit,
        backend=backend,
        config=base.config,
        hyperparams=hyperparams,
        seeds=list(range(first_seed, first_seed + num_seeds)),
        num_evaluations=num_evaluations,
        evaluation_episodes=evaluation_episodes,
        num_threads=num_threads,
        network=network,
        env_args=env_args or {},
    )
    spec.agent()
    return spec


def _join(
    base: Hyperparams, numbers: Mapping[str, Sequence[float] | float], rows: Sequence[Mapping[str, float]]
) -> Hyperparams:
    """Joins the rows of a sweep, whose other hyperparameters have a single value each."""
    for name, value in numbers.items():
        if np.size(value) > 1 or name in (rows[0] if rows else ()):
            raise SettingsError(f"{name} is given beside the settings; give one value, of what they do not name")
    single = jax.tree.map(lambda x: float(x[0]), grid(base, **numbers))
    return settings_from(rows, single)


def setting_labels(spec: RunSpec) -> list[str]:
    """Returns a label for each setting of a sweep `spec`, such as "rpo_alpha=0.1"; empty if there is only one."""
    return [", ".join(f"{name}={value:.9g}" for name, value in row.items()) for row in swept_values(spec)]


def swept_values(spec: RunSpec) -> list[dict[str, float]]:
    """Returns the values of the hyperparameters in which the settings of `spec` differ, by name, for each setting."""
    settings = settings_list(spec.hyperparams)
    swept = [name for name in settings[0] if any(row[name] != settings[0][name] for row in settings)]
    return [{name: float(row[name] or 0) for name in swept} for row in settings]  # None is swept nowhere


def run_label(spec: RunSpec, setting: int, seed: int) -> str:
    """Returns the label of the run of `spec` at `setting`, `seed` in [H, S], such as "seed 3 of rpo_alpha=0.5"."""
    label = setting_labels(spec)[setting]
    return f"seed {spec.seeds[seed]}{label and f' of {label}'}"
