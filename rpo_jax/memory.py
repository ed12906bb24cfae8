"""Device memory: what a compiled call needs, what is free, and into which equal batches a sweep is cut to fit."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rpo_jax.agent import Agent
from rpo_jax.devices import Spread, spread_runs
from rpo_jax.errors import SettingsError

USABLE = 0.9  # of what is free; the rest is for what XLA does not count


def needed_bytes(program: Any) -> int:
    """Peak memory of a compiled program on each of its devices, as XLA has laid it out: in, out and in between."""
    sizes = program.memory_analysis()
    kept = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return int(kept + sizes.temp_size_in_bytes)


def free_bytes(devices: Sequence[Any]) -> int | None:
    """What each of the devices can still hold; None where that cannot be told. CPU devices share the machine's."""
    if devices[0].platform == "cpu":
        with contextlib.suppress(OSError, StopIteration):  # Linux only
            lines = Path("/proc/meminfo").read_text().splitlines()
            kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
            return 1024 * kibibytes // len(devices)
        return None
    statistics = [device.memory_stats() or {} for device in devices]
    if any("bytes_limit" not in known for known in statistics):
        return None
    return min(known["bytes_limit"] - known.get("bytes_in_use", 0) for known in statistics)


def fit_in_memory(
    agent: Agent,
    num_runs: int,
    devices: Sequence[Any] | None,
    runs_at_once: int | None,
    compile_for: Callable[[Spread], Any],
) -> tuple[Spread, Any]:
    """As many runs in one call as memory holds, and the program that trains them.

    Args:
        agent: the static part.
        num_runs: in all.
        devices: over which they are spread; all if None.
        runs_at_once: the most in one call, even if memory holds more.
        compile_for: gives the program that trains the runs of a `Spread`.

    Returns:
        A `Spread` of one batch of runs, and its program. All batches are of the same size.

    Raises:
        SettingsError: if `runs_at_once` is not 1 or more, or not even one run fits.
    """
    check_runs_at_once(runs_at_once)
    spread = _equal_batches(agent, num_runs, devices, runs_at_once or num_runs)
    program = compile_for(spread)
    free = free_bytes(spread.devices)
    if free is None or needed_bytes(program) <= USABLE * free:
        return spread, program
    most = int(USABLE * free * spread.num_runs / needed_bytes(program))
    if most < 1:
        raise SettingsError(
            f"a run needs {megabytes(needed_bytes(program) / spread.num_runs)} of a device's memory, and "
            f"{megabytes(free)} are free; half of num_envs or of num_steps needs about half"
        )
    spread = _equal_batches(agent, num_runs, devices, most)
    return spread, compile_for(spread)


def check_runs_at_once(runs_at_once: int | None) -> None:
    """Raises a SettingsError unless it is 1 or more, or None."""
    if runs_at_once is not None and runs_at_once < 1:
        raise SettingsError(f"runs_at_once={runs_at_once} is out of range: it must be 1 or more")


def _equal_batches(agent: Agent, num_runs: int, devices: Sequence[Any] | None, most: int) -> Spread:
    num_batches = -(-num_runs // min(most, num_runs))
    return spread_runs(agent, -(-num_runs // num_batches), devices)


def megabytes(count: float) -> str:
    """Bytes as MiB."""
    return f"{count / 2**20:,.1f} MiB"
