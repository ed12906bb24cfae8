"""`--dry-run`: what a command would train, without training."""

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rpo_jax.runs.session import Session
    from rpo_jax.settings.spec import RunSpec


def preview(specs: "list[RunSpec]", session: "Session") -> int:
    """Prints all settings of runs, their sizes, and the memory and disk space that they need.

    Args:
        specs: specifications of the runs.
        session: how they would be trained.

    Returns:
        The exit code.

    Raises:
        SettingsError: if a single run does not fit in memory.
    """
    from rich.console import Console

    console = Console()
    for spec in specs:
        console.print(_settings_table(spec))
        with session.console.status(f"compiling {spec.variant}"):
            lines = _sizes(spec, session.runs_at_once)
        for line in lines:
            console.print(line, highlight=False, markup=False)
    return 0


def _settings_table(spec: "RunSpec") -> Table:
    table = Table("setting", "value", title=f"{spec.variant} on {spec.env}, preset {spec.preset}")
    names = ("head", "network", "time_limit", "backend", "env_args", "init_from", "num_evaluations")
    rows = {name: getattr(spec, name) for name in names} | vars(spec.config)
    rows |= {"seeds": f"{spec.seeds[0]} ... {spec.seeds[-1]}"}
    for name, values in vars(spec.hyperparams).items():
        rows[name] = None if values is None else " ".join(dict.fromkeys(f"{value:.6g}" for value in values.tolist()))
    for name, value in rows.items():
        table.add_row(name, "-" if value in (None, (), {}) else str(value))
    return table


def _sizes(spec: "RunSpec", runs_at_once: int | None) -> list[str]:
    from functools import partial

    from rpo_jax.execution.memory import fit_in_memory, mebibytes, needed_bytes
    from rpo_jax.execution.segments import compile_segment
    from rpo_jax.execution.sweep import as_runs
    from rpo_jax.runs import disk
    from rpo_jax.settings.grid import seeds

    agent, config = spec.agent(), spec.config
    runs = as_runs(spec.hyperparams, seeds(spec.seeds[0], len(spec.seeds)))
    spread, program = fit_in_memory(agent, runs.count, None, runs_at_once, partial(compile_segment, runs))
    space = disk.estimate(spec, agent)
    return [
        f"runs: {runs.count:,} (settings x seeds), {spread.num_runs:,} at once on {len(spread.devices)} devices",
        f"updates of each run: {config.num_updates:,} of {config.round_timesteps:,} steps, in minibatches of "
        f"{config.round_timesteps // config.num_minibatches:,}",
        f"memory: {mebibytes(needed_bytes(program))} on each device",
        f"disk: about {mebibytes(space.results)} for results, {mebibytes(space.checkpoints)} for checkpoints",
    ]
