"""What a command sets up in its own process; an import never does."""

import contextlib
from typing import Any

from rpo_jax.cli.commands import Evaluate, Resume, RunOptions
from rpo_jax.errors import SettingsError


def set_up_jax(imports: tuple[str, ...], cpu_devices: int | None = None) -> None:
    """Sets compiler options and the number of CPU devices, and then imports the user's modules.

    Args:
        imports: modules that register names; they may start JAX.
        cpu_devices: one per core if None. Not set where JAX has started, as where a program calls `main`.

    Raises:
        SettingsError: if a module cannot be imported.
    """
    from rpo_jax.execution.devices import use_cpu_cores
    from rpo_jax.registry import import_modules

    with contextlib.suppress(SettingsError):
        use_cpu_cores(cpu_devices)
    import_modules(imports)


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
