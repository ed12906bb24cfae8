"""`rpo-jax search`."""

import contextlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpo_jax.cli.commands import Search
from rpo_jax.cli.options import parse_choices, parse_whole_number
from rpo_jax.cli.process import set_up_jax
from rpo_jax.cli.report import print_command, print_resume
from rpo_jax.cli.shards import parse_shard
from rpo_jax.cli.train import default_folder, open_session, spec_arguments
from rpo_jax.errors import SettingsError, counted, unknown_name

if TYPE_CHECKING:
    from rpo_jax.algorithm.variants import Variant
    from rpo_jax.runs.session import Session
    from rpo_jax.search.halving import Found
    from rpo_jax.search.plan import Plan
    from rpo_jax.settings.space import Distribution

SEARCHED = ("learning_rate", "gamma", "gae_lambda", "entropy_coefficient", "rpo_alpha")  # if nothing is named
SAMPLERS = ("sobol", "tpe")
BATCHES = 4  # with tpe, if not given


def search(options: Search) -> int:
    """Searches hyperparameters, and writes the results to a folder.

    Args:
        options: options of the command.

    Returns:
        The exit code.

    Raises:
        SettingsError: if an option is one that a search cannot take, or a range or the budget cannot be used.
    """
    from rpo_jax.algorithm.variants import get_variant
    from rpo_jax.runs.folder import check_free
    from rpo_jax.search.halving import search_to_folder
    from rpo_jax.search.plan import Plan, draw_specs, fitting_halvings, preset_spec

    if options.num_evaluations or options.rows or options.init_from or options.stop_at_return is not None:
        raise SettingsError(
            "search takes none of --num-evaluations, --settings, --init-from and --stop-at-return: it ranks settings "
            "by the returns of training, at fixed points"
        )
    set_up_jax(options.imports)
    space, static = _parse_searched(options.over, get_variant(options.variant))
    batches = _check_sampler(options.sampler, options.batches)
    shard, shards = (None, 1) if options.shard is None else parse_shard(options.shard)
    given = {name: getattr(options, name, None) for name in Plan._fields}
    sizes = {name: x for name, x in given.items() if x is not None}
    plan = Plan(**{**sizes, "batches": batches, "shards": shards})
    if options.num_settings is None:
        plan = plan._replace(num_settings=min(plan.num_settings, _combinations(space, static)))
    described = {"variant": options.variant, **spec_arguments(options)}
    described = {name: x for name, x in described.items() if name not in (*Plan._fields, "rows")}
    preset = preset_spec(plan, **described)
    if options.halvings is None:
        plan = plan._replace(halvings=fitting_halvings(preset, plan.halvings))
    if options.budget is not None:
        plan = plan.within(parse_whole_number("budget", options.budget), preset.config.total_timesteps)
    parts = draw_specs(plan, preset, space, static, **described)
    if shard and options.out is None:
        raise SettingsError("--shard needs --out, the same folder for all jobs that share the search")
    path = options.out or default_folder(options.env, f"{options.variant}-search")
    if shard is None:  # otherwise another job may have begun it
        check_free(path)
    session = open_session(options)
    for line in _estimate(plan, preset.config.total_timesteps, len(parts)):
        session.console.print(line, highlight=False, markup=False)
    for name, ranged in {**static, **space}.items():
        session.console.print(f"  {name} in {ranged}", highlight=False, markup=False)
    if options.dry_run:
        return 0
    found = search_to_folder(plan, parts, preset, {**dict.fromkeys(static), **space}, path, session, shard)
    return _report(found, path, options.imports)


def go_on_searching(path: Path, session: "Session", imports: tuple[str, ...]) -> int:
    """Continues a search; returns the exit code.

    Args:
        path: folder of the search.
        session: how it is trained and shown.
        imports: modules that the command imported.
    """
    from rpo_jax.search.halving import resume_search

    return _report(resume_search(path, session), path, imports)


def _combinations(space: "dict[str, Distribution]", static: dict[str, list[Any]]) -> float:
    """How many settings there are; infinitely many of a range."""
    counts = [len(getattr(ranged, "values", ())) or math.inf for ranged in space.values()]
    return math.prod([*counts, *map(len, static.values())])


def _check_sampler(sampler: str, batches: int | None) -> int:
    """Returns the number of batches of settings."""
    from rpo_jax.search.asking import import_optuna
    from rpo_jax.settings.bounds import check_range
    from rpo_jax.settings.grid import MAX_SETTINGS

    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    if sampler == "sobol" and batches is not None:
        raise SettingsError("--batches is for --sampler tpe; sobol draws all settings at once")
    if sampler == "sobol":
        return 1
    import_optuna()
    batches = BATCHES if batches is None else batches
    check_range("batches", batches, 2, MAX_SETTINGS)
    return batches


def _parse_searched(
    texts: tuple[str, ...], variant: "Variant"
) -> "tuple[dict[str, Distribution], dict[str, list[Any]]]":
    """The ranges of hyperparameters, and the values of static settings, by name."""
    from rpo_jax.algorithm.config import TrainConfig, field_names
    from rpo_jax.algorithm.variants import foreign_hyperparams

    own = set(field_names(variant.hyperparams_type())) - foreign_hyperparams(variant)
    fixed = set(field_names(TrainConfig)) - {"total_timesteps"}
    space: dict[str, Distribution] = {}
    static: dict[str, list[Any]] = {}
    for text in texts or [name for name in SEARCHED if name in own]:
        name, _, given = text.partition("=")
        name = name.replace("-", "_")
        if name in {*space, *static}:
            raise SettingsError(f"--over names {name} twice")
        if "=" in text and not given:
            raise SettingsError(f"--over {text} lacks a range; give {name}=LOW:HIGH, or {name}=A,B,C")
        if name in fixed and given:
            static[name] = parse_choices(name, given)
        elif name in own:
            space[name] = _parse_range(name, given)
        elif name in fixed:
            raise SettingsError(f"--over {name} needs values, such as {name}=A,B")
        else:
            raise unknown_name("setting to search", name, own | fixed)
    return space, static


def _parse_range(name: str, text: str) -> "Distribution":
    from rpo_jax.settings.space import DEFAULT_RANGES, choice, loguniform, uniform

    if not text:
        if name not in DEFAULT_RANGES:
            raise SettingsError(f"--over {name} needs a range, such as {name}=LOW:HIGH; none is known")
        return DEFAULT_RANGES[name]
    kind, words = (loguniform, text.removeprefix("log:")) if text.startswith("log:") else (uniform, text)
    try:
        numbers = [float(word) for word in words.split(":" if ":" in words else ",")]
    except ValueError:
        numbers = []
    if ":" in words and len(numbers) == 2:
        return kind(*numbers)
    if ":" not in words and kind is uniform and numbers:
        return choice(*numbers)
    raise SettingsError(
        f"--over {name}={text} is not understood; give {name}=LOW:HIGH, {name}=log:LOW:HIGH, or {name}=A,B,C"
    )


def _estimate(plan: "Plan", total_timesteps: int, parts: int) -> list[str]:
    stages = ", ".join(f"{rung.num_settings} until {rung.share:.4g}" for rung in plan.rungs)
    steps = plan.share_of_training * total_timesteps
    programs = f"; {parts} combinations of static settings, compiled one by one" if parts > 1 else ""
    if plan.shards > 1:
        programs += f"; {plan.shards} jobs share each stage"
    if plan.batches > 1:
        programs += f"; the first of {plan.batches} batches is drawn, Optuna proposes the others"
    return [
        f"settings x {plan.num_seeds} seeds, and the share of the training: {stages}{programs}",
        f"then {counted(plan.finalists, 'finalist')} and the preset's settings x {plan.final_seeds} "
        f"fresh seeds; {steps:,.0f} environment steps in all, as many as {plan.share_of_training:,.1f} whole runs",
    ]


def _report(found: "Found | None", path: Path, imports: tuple[str, ...]) -> int:
    """Prints what was found, and writes it; returns the exit code."""
    from rich.console import Console

    from rpo_jax.analysis.statistics import mean_of_seeds
    from rpo_jax.runs.ownership import lock_folder
    from rpo_jax.runs.tables import folding_table, in_lines
    from rpo_jax.search import answer

    console = Console()
    if found is None:
        console.print("interrupted", highlight=False)
        print_resume(console, path, imports)
        return 130
    with lock_folder(path, wait=True) if found.plan.shards > 1 else contextlib.nullcontext():
        answer.write_answer(path, found)
    title = f"finalists, best first when chosen; {found.plan.final_seeds} fresh seeds"
    table = folding_table(title, ["setting"], ["when chosen", "fresh seeds", "95% interval"])
    for one, returns in {**found.final, None: found.default}.items():
        interval = mean_of_seeds(returns)
        label = answer.label_of(found, one) if one else f"preset {found.parts[0].preset}"
        chosen = f"{found.returns[-1][one]:,.1f}" if one else ""
        table.add_row(in_lines(label), chosen, f"{interval.value:,.1f}", f"{interval.low:,.1f} to {interval.high:,.1f}")
    console.print(table)
    for sentence in answer.sentences(found):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    console.print(f"results: {path}", highlight=False, markup=False, soft_wrap=True)
    label = "to train it all the same" if answer.verdict_of(found).better < 0 else "to train it"
    print_command(console, label, _command(found, path), imports)
    return 0


def _command(found: "Found", path: Path) -> list[str]:
    """The words of the command that trains the setting that was found, on other seeds."""
    from rpo_jax.search import answer

    spec = found.parts[next(iter(found.final))[0]]
    words = ["train", spec.env, "--variant", spec.variant, "--preset", spec.preset]
    words += answer.changed_options(found, spec)
    if answer.drawn_names(found):
        words += ["--settings", str(path / answer.SETTING)]
    return [*words, "--first-seed", str(found.plan.fresh_seeds.stop)]
