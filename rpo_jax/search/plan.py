"""The plan of a search: what is trained at which point, and what that costs, before anything is compiled."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.errors import SettingsError
from rpo_jax.settings.bounds import check_range
from rpo_jax.settings.grid import MAX_SETTINGS, check_seeds, check_settings, num_settings, settings_list
from rpo_jax.settings.space import Choice, Distribution, sample_settings
from rpo_jax.settings.spec import RunSpec, make_spec
from rpo_jax.typing import JsonObject

MOST_HALVINGS, MOST_DOUBLINGS = 10, 8


class Rung(NamedTuple):
    """A stage of successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943).

    Attributes:
        share: share of the training after which its settings are ranked.
        num_settings: number of settings that are trained until then.
    """

    share: float
    num_settings: int

    def num_updates(self, config: TrainConfig) -> int:
        """Returns the number of updates after which runs of a `config` are ranked, one or more."""
        return max(round(self.share * config.num_updates), 1)


class Plan(NamedTuple):
    """What a search trains.

    Attributes:
        num_settings: number of settings at the beginning, H.
        num_seeds: number of seeds of each, S.
        first_seed: the first seed; those of the finalists follow the S.
        halvings: how often the worse half is dropped: at 1/2, 1/4, 1/8, ... of the training.
        finalists: number of settings that are trained at the end, on fresh seeds.
        final_seeds: number of fresh seeds.
        draw: number of the draw of the settings.
        batches: number of batches of the settings; the first is drawn, and Optuna proposes each other one from what
            those before got in the first stage.
        shards: number of jobs that share each stage.
    """

    num_settings: int = 32
    num_seeds: int = 3
    first_seed: int = 0
    halvings: int = 3
    finalists: int = 4
    final_seeds: int = 10
    draw: int = 0
    batches: int = 1
    shards: int = 1

    @property
    def rungs(self) -> list[Rung]:
        """The stages, in order."""
        counts = itertools.accumulate(range(self.halvings), lambda count, _: -(-count // 2), initial=self.num_settings)
        return [Rung(0.5 ** (self.halvings - index), count) for index, count in enumerate(counts)]

    @property
    def fresh_seeds(self) -> range:
        """The seeds of the finalists."""
        first = self.first_seed + self.num_seeds
        return range(first, first + self.final_seeds)

    @property
    def share_of_training(self) -> float:
        """The environment steps of the whole search, in units of those of one whole run."""
        shares = [0.0, *(rung.share for rung in self.rungs)]
        done = sum(rung.num_settings * (rung.share - before) for rung, before in zip(self.rungs, shares, strict=False))
        return done * self.num_seeds + self._final_share

    @property
    def _final_share(self) -> int:
        return (self.finalists + 1) * self.final_seeds

    @property
    def least_settings(self) -> int:
        """The smallest number of settings of which enough are left for the finalists."""
        return (self.finalists - 1) * 2**self.halvings + 1

    def check_sizes(self) -> None:
        """Raises a SettingsError if a number is out of range, but for that of the settings."""
        for name, least in (("num_seeds", 1), ("final_seeds", 3), ("draw", 0)):
            check_range(name, getattr(self, name), least, 2**31)
        check_range("finalists", self.finalists, 1, MAX_SETTINGS)
        check_range("halvings", self.halvings, 0, MOST_HALVINGS)
        check_range("batches", self.batches, 1, MAX_SETTINGS)
        check_range("shards", self.shards, 1, MAX_SETTINGS)
        check_seeds(self.first_seed, self.num_seeds + self.final_seeds)

    def check(self) -> None:
        """Raises a SettingsError if a number is out of range, or too few settings are left for the finalists."""
        self.check_sizes()
        check_settings(self.num_settings)
        if self.num_settings < self.least_settings:
            raise SettingsError(
                f"{self.num_settings} settings halved {self.halvings} times leave {self.rungs[-1].num_settings}, fewer "
                f"than {self.finalists} finalists; ask for {self.least_settings} settings or more, or for fewer "
                "halvings or finalists"
            )

    def within(self, budget: int, total_timesteps: int) -> "Plan":
        """Returns the plan with as many settings as a budget allows.

        Args:
            budget: environment steps of the whole search.
            total_timesteps: environment steps of one whole run.

        Raises:
            SettingsError: if the budget is too small for the finalists.
        """
        self.check_sizes()
        one = self._replace(num_settings=2**self.halvings)
        each = (one.share_of_training - self._final_share) / one.num_settings
        count = math.floor(min((budget / total_timesteps - self._final_share) / each, MAX_SETTINGS))
        if count > 0 and self._replace(num_settings=count).share_of_training * total_timesteps > budget:
            count -= min(count, 2**self.halvings)  # halves are rounded up
            while self._replace(num_settings=count + 1).share_of_training * total_timesteps <= budget:
                count += 1
        if count < self.least_settings:
            least = self._replace(num_settings=self.least_settings).share_of_training * total_timesteps
            raise SettingsError(
                f"a budget of {budget:,} steps is too small: {self.finalists} finalists and the preset's settings with "
                f"{self.final_seeds} fresh seeds, after {self.halvings} halvings, need {math.ceil(least):,} steps "
                "of the environment; ask for more, for shorter training, or for fewer finalists, seeds or halvings"
            )
        return self._replace(num_settings=count)


def preset_spec(plan: Plan, /, **options: Any) -> RunSpec:
    """Returns the specification of the preset's settings on the fresh seeds, with which the finalists are compared.

    Args:
        plan: the plan.
        **options: arguments of `make_spec`, without seeds.

    Raises:
        SettingsError: if an argument is invalid, or a hyperparameter has several values.
    """
    plan.check_sizes()
    spec = make_spec(**options, first_seed=plan.fresh_seeds.start, num_seeds=plan.final_seeds)
    if num_settings(spec.hyperparams) > 1:
        raise SettingsError("a hyperparameter has several values; a search takes one of each, or a range to search")
    return spec


def draw_specs(
    plan: Plan,
    default: RunSpec,
    space: Mapping[str, Distribution],
    static: Mapping[str, Sequence[Any]],
    /,
    **options: Any,
) -> list[RunSpec]:
    """Draws the settings of a search.

    Args:
        plan: the plan.
        default: from `preset_spec`, with the same arguments.
        space: ranges of hyperparameters by name.
        static: choices of fields of `TrainConfig` by name; each combination is a program of its own, and gets an equal
            share of the settings.
        **options: arguments of `make_spec`, without seeds.

    Returns:
        The specifications of the settings to begin with, one for each combination; of the first batch if there are
        several.

    Raises:
        SettingsError: if an argument is invalid, the combinations do not share the settings, or an episode
            cannot end in the first stage.
    """
    plan.check()
    if both := sorted({*space, *static} & {*options}):
        raise SettingsError(f"{both[0]} is given, and searched too; leave one out")
    parts = math.prod(map(len, static.values()))
    if parts > plan.num_settings or (parts < plan.num_settings and not space):
        raise SettingsError(
            f"{plan.num_settings} settings do not fit {parts} combinations of {', '.join(static) or 'nothing'}; "
            f"ask for {'at least as many' if space else 'as many, or search a hyperparameter too'}"
        )
    counts = split(plan.num_settings, parts)
    if plan.batches > 1 and not space:
        raise SettingsError("tpe needs a hyperparameter to search, such as --over learning_rate")
    if plan.batches > counts[-1]:
        each = f" for each of {parts} combinations of static settings" if parts > 1 else ""
        raise SettingsError(
            f"{plan.batches} batches need {plan.batches} settings or more{each}; there are {counts[-1]}"
        )
    shares: list[JsonObject] = [{}] * parts
    if space:
        base = type(default.hyperparams)()  # of which only what is drawn counts
        draws = [draw_different(plan, part, parts, base, space) for part in range(parts)]
        shares = [{"rows": rows[: split(len(rows), plan.batches)[0]]} for rows in draws]
    seeds = {"first_seed": plan.first_seed, "num_seeds": plan.num_seeds}
    combinations = [dict(zip(static, values, strict=True)) for values in itertools.product(*static.values())]
    specs = [
        make_spec(**options, **seeds, **chosen, **share) for chosen, share in zip(combinations, shares, strict=True)
    ]
    for spec in specs:
        _check_first_stage(plan, spec)
    return specs


def split(count: int, parts: int) -> list[int]:
    """Returns the sizes of so many `parts` of a `count`, the larger ones first."""
    return [count // parts + (index < count % parts) for index in range(parts)]


def _check_first_stage(plan: Plan, spec: RunSpec) -> None:
    """Raises a SettingsError if an episode that lasts until its time limit cannot end in the first stage."""
    if (fitting := fitting_halvings(spec, plan.halvings)) < plan.halvings:
        needed = (spec.agent().env.time_limit or 0) * spec.config.num_envs * 2**plan.halvings
        raise SettingsError(
            f"with {plan.halvings} halvings no episode of the full length can end in the first stage, so that settings "
            f"could not be ranked; ask for {fitting} halvings, or for training of {needed:,} steps or more"
        )


def fitting_halvings(spec: RunSpec, most: int) -> int:
    """Returns the largest number of halvings, up to `most`, for which an episode can end in the first stage.

    Args:
        spec: specification of a run.
        most: the number to begin with.
    """
    limit = spec.agent().env.time_limit or 0
    for halvings in range(most, 0, -1):
        if Rung(0.5**halvings, 1).num_updates(spec.config) * spec.config.num_steps >= limit:
            return halvings
    return 0


def draw_different(
    plan: Plan, part: int, parts: int, base: Hyperparams, space: Mapping[str, Distribution]
) -> list[dict[str, float]]:
    """Draws settings that differ: where there are choices only, the same one may be drawn again.

    Args:
        plan: the plan.
        part: index of the combination of static settings, each of which has a draw of its own: of one draw, those of
            a part would not cover the ranges.
        parts: number of the combinations.
        base: the record of the hyperparameters.
        space: ranges by name.

    Returns:
        The settings, each with its numbers by name.

    Raises:
        SettingsError: if there are not as many as the part's share of the settings.
    """
    wanted, key = split(plan.num_settings, parts)[part], jax.random.key(plan.draw)
    if parts > 1:
        key = jax.random.split(key, parts)[part]
    choices = [ranged.values for ranged in space.values() if isinstance(ranged, Choice)]
    possible = math.prod(map(len, choices))
    if len(choices) == len(space) and possible < wanted:
        raise SettingsError(
            f"the choices make {possible} settings, fewer than the {wanted} asked for; ask for as many, or "
            "search a range too"
        )
    for count in (wanted * 2**power for power in range(MOST_DOUBLINGS)):
        drawn = settings_list(sample_settings(min(count, MAX_SETTINGS), key, base, **space))
        rows = list(dict.fromkeys(tuple(float(row[name] or 0) for name in space) for row in drawn))
        if len(rows) >= wanted:
            return [dict(zip(space, row, strict=True)) for row in rows[:wanted]]
    raise SettingsError(f"{wanted} different settings could not be drawn; ask for fewer, or search a range")


def choose_settings(spec: RunSpec, settings: Sequence[int], seeds: Sequence[int] | None = None) -> RunSpec:
    """Returns the specification of some of the settings of `spec`, and of other seeds if they are given.

    Args:
        spec: the specification.
        settings: indices of the settings.
        seeds: the seeds; those of `spec` if None.
    """
    chosen = jax.tree.map(lambda x: x[list(settings)], spec.hyperparams)
    return dataclasses.replace(spec, hyperparams=chosen, seeds=list(spec.seeds if seeds is None else seeds))


def join_settings(one: RunSpec, other: RunSpec) -> RunSpec:
    """Returns the specification of the settings of two that differ in nothing else.

    Args:
        one: a specification.
        other: another one.
    """
    joined = jax.tree.map(lambda *x: np.concatenate(x), one.hyperparams, other.hyperparams)
    return dataclasses.replace(one, hyperparams=joined)
