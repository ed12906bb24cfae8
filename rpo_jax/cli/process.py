"""What a command sets up in its own process; an import never does."""

import contextlib
from typing import Any

from rpo_jax.cli.commands import Evaluate, Resume, RunOptions
from rpo_jax.errors import SettingsError


def set_up_jax(cpu_devices: int | None = None) -> None:
    """Compiler options of the process and devices of a CPU: one per core if None. Not where JAX has started already,
    as where a program calls `main`.
    """
    from rpo_jax.execution.devices import use_cpu_cores

    with contextlib.suppress(SettingsError):
        use_cpu_cores(cpu_devices)


def prepare(options: RunOptions | Resume, console: Any) -> None:
    """Sets up the process: only a command does so, never an import."""
    from rpo_jax.execution.memory import check_runs_at_once
    from rpo_jax.loggers import check_loggers

    check_runs_at_once(options.runs_at_once)
    check_loggers(options.logger)
    keep_programs(options, console)


def keep_programs(options: RunOptions | Resume | Evaluate, console: Any) -> None:
    """Has JAX keep compiled programs in the user's cache folder, unless asked not to."""
    import jax

    from rpo_jax.compiling.probe import cache_folder

    if options.compilation_cache and (cache := cache_folder()):
        jax.config.update("jax_compilation_cache_dir", str(cache))
        console.print(f"compiled programs are kept in {cache} (--no-compilation-cache: not)", style="dim")
