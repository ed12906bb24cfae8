"""`rpo-jax train`, `compare` and `resume`."""

import dataclasses
import secrets
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpo_jax.cli.commands import Compare, Resume, RunOptions, Train
from rpo_jax.cli.options import given_arguments, given_settings
from rpo_jax.cli.preview import preview
from rpo_jax.cli.process import prepare, set_up_jax
from rpo_jax.cli.report import report
from rpo_jax.cli.shards import cut_out
from rpo_jax.errors import SettingsError

if TYPE_CHECKING:
    from rpo_jax.algorithm.types import Policy
    from rpo_jax.runs.session import Session
    from rpo_jax.settings.spec import RunSpec

# Options that say how a run is done, and not what is trained.
NOT_OF_THE_RUN = (
    *("out", "runs_at_once", "logger", "compilation_cache", "distributed", "imports"),
    *("init_from", "stop_at_return", "dry_run"),
)


def train(options: Train) -> int:
    """Trains one variant, and writes the results to a folder.

    Args:
        options: options of the command.

    Returns:
        The exit code.
    """
    from rpo_jax.runs.folder import check_free
    from rpo_jax.runs.launch import run_to_folder

    set_up_jax(options.imports)
    specs, initial = _load_initial(options, [_spec(options, options.variant)])
    (spec,), path = _of_this_job(options, specs, options.variant)
    check_free(path)
    if options.dry_run:
        return preview({path: spec}, open_session(options))
    summary, _ = run_to_folder(spec, path, open_session(options), initial)
    return report([summary], [spec], path, _modules_of(options))


def compare(options: Compare) -> int:
    """Trains several variants, and writes the results to subfolders of a folder.

    Args:
        options: options of the command.

    Returns:
        The exit code.

    Raises:
        SettingsError: if a variant is named twice, or none is.
    """
    from rpo_jax.algorithm.variants import foreign_hyperparams, get_variant
    from rpo_jax.runs.compare import check_comparison_free, compare_to_folder

    if len(set(options.variants)) < len(options.variants) or not options.variants:
        raise SettingsError(f"--variants {' '.join(options.variants)}: name each variant once, such as: rpo ppo")
    set_up_jax(options.imports)
    variants = [get_variant(name) for name in options.variants]
    specs = [_spec(options, variant.name, ignored=foreign_hyperparams(variant, variants)) for variant in variants]
    specs, initial = _load_initial(options, specs)
    specs, path = _of_this_job(options, specs, "compare")
    check_comparison_free(specs, path)
    if options.dry_run:
        return preview({path / spec.variant: spec for spec in specs}, open_session(options))
    summaries = compare_to_folder(specs, path, open_session(options), initial)
    return report(summaries, specs, path, _modules_of(options))


def resume(options: Resume) -> int:
    """Continues the unfinished runs of a folder, if there are any.

    Args:
        options: options of the command.

    Returns:
        The exit code.
    """
    from rpo_jax.cli.search import go_on_searching
    from rpo_jax.loggers import check_loggers
    from rpo_jax.runs.folder import is_search
    from rpo_jax.runs.resume import resume, unfinished

    check_loggers(options.logger)
    set_up_jax(options.imports)
    if is_search(options.folder):
        return go_on_searching(options.folder, open_session(options), options.imports)
    if not (specs := unfinished(options.folder)):
        print(f"{options.folder} is finished: nothing is left to do")
        return 0
    summaries = resume(specs, options.folder, open_session(options))
    return report(summaries, specs, options.folder, options.imports)


def _spec(options: RunOptions, variant: str, ignored: Collection[str] = ()) -> "RunSpec":
    """Creates the specification that the options describe, without the `ignored` settings."""
    from rpo_jax.settings.spec import make_spec

    return make_spec(variant=variant, **spec_arguments(options, ignored))


def spec_arguments(options: RunOptions, ignored: Collection[str] = ()) -> dict[str, Any]:
    """Returns the arguments of `make_spec` that the options describe, but for the variant.

    Args:
        options: options of a command.
        ignored: names of settings to leave out.
    """
    from rpo_jax.settings.table import read_table

    shared = {field.name: getattr(options, field.name) for field in dataclasses.fields(RunOptions)}
    given = given_settings(shared.pop("settings"))
    shared["env_args"] = given_arguments(shared.pop("env_arg"))
    shared["rows"] = shared["rows"] and _without(read_table(shared["rows"]), ignored)
    for name in NOT_OF_THE_RUN:
        del shared[name]
    return shared | {name: x for name, x in given.items() if name not in ignored}


def _without(rows: list[dict[str, float]], ignored: Collection[str]) -> list[dict[str, float]] | None:
    """Leaves hyperparameters out of settings, and settings that then are equal; None if nothing is left of them."""
    left = [{name: x for name, x in row.items() if name not in ignored} for row in rows]
    unique = {tuple(row.values()): row for row in left}
    return list(unique.values()) if left[0] else None


def open_session(options: RunOptions | Resume) -> "Session":
    """Prepares this process for training, and returns how the `options` want it done."""
    from rich.console import Console

    from rpo_jax.runs.session import Session

    console = Console(stderr=True)
    prepare(options, console)
    return Session(console, options.runs_at_once, options.logger, stop_at_return=options.stop_at_return)


def _load_initial(options: RunOptions, specs: "list[RunSpec]") -> "tuple[list[RunSpec], Policy | None]":
    """Returns the specifications, and the trained policy of `--init-from` from which the runs start."""
    if options.init_from is None:
        return specs, None
    from rpo_jax.runs.choose import load_initial

    label, policy = load_initial(options.init_from, specs)
    return [dataclasses.replace(spec, init_from=label) for spec in specs], policy


def _of_this_job(options: Train | Compare, specs: "list[RunSpec]", name: str) -> "tuple[list[RunSpec], Path]":
    """Returns what is trained here, all or a shard, and its folder; `name` is in that of a folder that is not given."""
    if options.shard is None:
        return specs, options.out or default_folder(options.env, name)
    return cut_out(options, specs)


def _modules_of(options: RunOptions) -> tuple[str, ...]:
    """The modules that `resume` has to import: also the one that the name of the environment names."""
    from rpo_jax.envs.suites.gymnasium import module_of

    named = module_of(options.env)
    return options.imports if named is None or named in options.imports else (*options.imports, named)


def default_folder(env: str, name: str) -> Path:
    """Returns a folder for what `name` trains on `env`, which no other process takes in the same second."""
    return Path("runs") / f"{env.replace('/', '-')}-{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
