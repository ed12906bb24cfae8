"""Device memory: what a compiled call needs, what is free, and into which equal calls a sweep is cut to fit."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rpo_jax.algorithm.agent import Agent
from rpo_jax.errors import SettingsError
from rpo_jax.execution.devices import Spread, spread_runs

USABLE = 0.9  # of what is free; the rest is for what XLA does not count


@lru_cache(maxsize=8)
def needed_bytes(program: Any) -> int:
    """Peak memory of a compiled program on each of its devices, as XLA has laid it out: in, out and in between."""
    sizes = program.memory_analysis()
    kept = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return int(kept + sizes.temp_size_in_bytes)


def usable_bytes(devices: Sequence[Any]) -> int | None:
    """What a program may need on each of the devices; None where that cannot be told.

    CPU devices share what the system says is available; of other devices only this process's own use is known.
    """
    free = _free_bytes(devices)
    return None if free is None else int(USABLE * free)


def _free_bytes(devices: Sequence[Any]) -> int | None:
    if devices[0].platform == "cpu":
        with contextlib.suppress(OSError, StopIteration):  # Linux only
            lines = Path("/proc/meminfo").read_text().splitlines()
            kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
            return int(min(1024 * kibibytes, _free_in_container())) // len(devices)
        return None
    statistics = [device.memory_stats() or {} for device in devices]
    if any("bytes_limit" not in known for known in statistics):
        return None
    return min(known["bytes_limit"] - known.get("bytes_in_use", 0) for known in statistics)


def _free_in_container() -> float:
    """Bytes left of what the container, or the job of a cluster, may use; infinite where there is no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return math.inf
    return math.inf if limit == "max" else int(limit) - int(used)


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
        A `Spread` of the runs of one call, and its program. All calls have the same number of runs.

    Raises:
        SettingsError: if `runs_at_once` is not 1 or more, or memory does not hold a single run.
    """
    check_runs_at_once(runs_at_once)
    most = num_runs if runs_at_once is None else runs_at_once
    while True:
        spread = _equal_calls(agent, num_runs, devices, most)
        program = compile_for(spread)
        usable, needed = usable_bytes(spread.devices), needed_bytes(program)
        if usable is None or needed <= usable:
            return spread, program
        if spread.num_runs == 1:
            raise SettingsError(
                f"a run needs {mebibytes(needed)} of a device's memory, and {mebibytes(usable)} are to be had; half of "
                "num_envs or of num_steps needs about half"
            )
        most = max(1, min(spread.num_runs - 1, spread.num_runs * usable // needed))


def check_runs_at_once(runs_at_once: int | None) -> None:
    """Raises a SettingsError unless it is 1 or more, or None."""
    if runs_at_once is not None and runs_at_once < 1:
        raise SettingsError(f"runs_at_once={runs_at_once} is out of range: it must be 1 or more")


def _equal_calls(agent: Agent, num_runs: int, devices: Sequence[Any] | None, most: int) -> Spread:
    num_calls = -(-num_runs // min(most, num_runs))
    return spread_runs(agent, -(-num_runs // num_calls), devices)


def mebibytes(count: float) -> str:
    """Bytes as MiB."""
    return f"{count / 2**20:,.1f} MiB"
