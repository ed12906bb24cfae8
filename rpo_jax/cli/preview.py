"""`--dry-run`: what a command would train, without training."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Column, Table
from rich.text import Text

from rpo_jax.algorithm.config import field_names
from rpo_jax.errors import counted

if TYPE_CHECKING:
    from rpo_jax.runs.session import Session
    from rpo_jax.settings.spec import RunSpec


TITLE = ("env", "variant", "preset")
GROUPS = ("config", "hyperparams", "seeds")


def preview(specs: "dict[Path, RunSpec]", session: "Session") -> int:
    """Prints all settings of runs, their sizes, and the memory and disk space that they need.

    Args:
        specs: specifications of the runs, by the folder of each, which `check_free` has found to be free.
        session: how they would be trained.

    Returns:
        The exit code.

    Raises:
        SettingsError: if a folder cannot be created, or a single run or an evaluation does not fit in memory or on the
            disk.
    """
    from rich.console import Console

    console = Console()
    for folder, spec in specs.items():
        console.print(_settings_table(spec))
        with session.console.status(f"compiling {spec.variant}"):
            lines = _sizes(spec, folder, session.runs_at_once)
        for line in lines:
            console.print(line, highlight=False, markup=False)
    return 0


def _settings_table(spec: "RunSpec") -> Table:
    value = Column("value", overflow="fold")
    table = Table("setting", value, title=f"{spec.variant} on {spec.env}, preset {spec.preset}")
    names = [field.name for field in dataclasses.fields(spec) if field.name not in (*TITLE, *GROUPS)]
    rows = {name: getattr(spec, name) for name in names} | vars(spec.config)
    rows |= {"seeds": f"{spec.seeds[0]} ... {spec.seeds[-1]}"}
    for name in field_names(spec.hyperparams):
        values = getattr(spec.hyperparams, name)
        rows[name] = None if values is None else " ".join(dict.fromkeys(f"{value:.6g}" for value in values.tolist()))
    for name, value in rows.items():
        table.add_row(name, Text("-" if value in (None, (), {}) else str(value)))
    return table


def _sizes(spec: "RunSpec", folder: Path, runs_at_once: int | None) -> list[str]:
    """Describes the sizes of a run, after the checks that training makes before it begins."""
    from functools import partial

    import jax

    from rpo_jax.execution.memory import check_evaluation, fit_in_memory, mebibytes, needed_bytes
    from rpo_jax.execution.segments import compile_segment
    from rpo_jax.execution.sweep import as_runs
    from rpo_jax.runs import disk
    from rpo_jax.runs.evaluate import evaluation_of

    agent, config, evaluation = spec.agent(), spec.config, evaluation_of(spec)
    space = disk.check(spec, agent, folder)
    runs = as_runs(spec.hyperparams, spec.keys())
    if evaluation:
        check_evaluation(agent, runs.count, evaluation.num_episodes, jax.devices())
    spread, program = fit_in_memory(agent, runs.count, None, runs_at_once, partial(compile_segment, runs))
    devices = counted(len(spread.devices), "device")
    return [
        f"runs: {runs.count:,} (settings x seeds), {spread.num_runs:,} at once on {devices}",
        f"updates of each run: {config.num_updates:,} of {config.round_timesteps:,} steps, in minibatches of "
        f"{config.round_timesteps // config.num_minibatches:,}",
        f"memory: {mebibytes(needed_bytes(program))} on each device",
        f"disk: about {mebibytes(space.results)} for results, {mebibytes(space.checkpoints)} for checkpoints",
    ]
