"""Set-up of the process by a command; importing the library never does this."""

import contextlib
from typing import Any

from rpo_jax.cli.commands import Evaluate, Resume, RunOptions
from rpo_jax.errors import SettingsError, one_line


def set_up_jax(imports: tuple[str, ...], cpu_devices: int | None = None) -> None:
    """Sets compiler options and the number of CPU devices, then imports the user's modules.

    Args:
        imports: modules that register names; they may start JAX.
        cpu_devices: number of CPU devices; one per core if None. Ignored if JAX has already started, such as in a
            program that calls `main`.

    Raises:
        SettingsError: if a module cannot be imported, or JAX does not start or has settings with which nothing works.
    """
    from rpo_jax.compiling.cores import use_cpu_cores
    from rpo_jax.registry import import_modules

    with contextlib.suppress(SettingsError):
        use_cpu_cores(cpu_devices)
    import jax

    import_modules(imports)
    if jax.config.jax_disable_jit:  # pyright: ignore[reportAttributeAccessIssue]
        raise SettingsError("JAX_DISABLE_JIT is set, and everything here is a compiled program; unset it")
    start_jax()


def start_jax() -> None:
    """Starts JAX.

    Raises:
        SettingsError: if it does not start, or has settings with which nothing works.
    """
    import jax

    config: Any = jax.config
    if config.jax_numpy_dtype_promotion != "standard":
        raise SettingsError(
            f"JAX_NUMPY_DTYPE_PROMOTION={config.jax_numpy_dtype_promotion} is set, and the packages that rpo_jax uses "
            "need standard; unset it"
        )
    try:
        jax.devices()
    except RuntimeError as error:
        wanted = config.jax_platforms
        hint = f"; JAX_PLATFORMS={wanted} asks for it: unset it, or choose another" if wanted else ""
        raise SettingsError(f"JAX does not start: {one_line(error, 300).rstrip('.')}{hint}") from None


def prepare(options: RunOptions | Resume, console: Any) -> None:
    """Checks the `options` of a training command, and sets up the compilation cache, which is told on `console`."""
    from rpo_jax.execution.memory import check_runs_at_once
    from rpo_jax.loggers import check_loggers

    check_runs_at_once(options.runs_at_once)
    check_loggers(options.logger)
    keep_programs(options, console)


def keep_programs(options: RunOptions | Resume | Evaluate, console: Any) -> None:
    """Makes JAX store compiled programs in the user's cache folder, told on `console`, unless `options` disable it."""
    import jax

    from rpo_jax.compiling.probe import cache_folder

    if options.compilation_cache and (cache := cache_folder()):
        jax.config.update("jax_compilation_cache_dir", str(cache))
        told = f"compiled programs are stored in {cache} (disable with --no-compilation-cache)"
        console.print(told, style="dim", markup=False, soft_wrap=True)
