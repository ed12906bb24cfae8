"""Device memory: how much a compiled program needs, how much is free, and how many runs fit in one call."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import jax

from rpo_jax.algorithm.agent import Agent
from rpo_jax.errors import SettingsError
from rpo_jax.execution.devices import Spread, spread_runs
from rpo_jax.execution.processes import check_all_used, least, of_all
from rpo_jax.execution.snapshot import state_shapes, tree_bytes
from rpo_jax.typing import Device

USABLE = 0.9  # part of the free memory; the rest is for what XLA does not count


@lru_cache(maxsize=8)
def needed_bytes(program: jax.stages.Compiled) -> int:
    """Computes the peak memory of a compiled program: its arguments, results and temporary arrays.

    Args:
        program: the compiled program.

    Returns:
        Bytes on each of its devices, as planned by XLA.
    """
    sizes = program.memory_analysis()
    assert sizes is not None  # XLA reports them on all platforms that rpo_jax supports
    kept = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return int(kept + sizes.temp_size_in_bytes)


def usable_bytes(devices: Sequence[Device]) -> int | None:
    """Computes how much memory a program may use.

    CPU devices share the memory that the system reports as available. For other devices, memory used by other
    processes is not known and not subtracted.

    Args:
        devices: devices of the same platform.

    Returns:
        Bytes on each of the devices; None if unknown.
    """
    free = _free_bytes(devices)
    return None if free is None else int(USABLE * free)


def _free_bytes(devices: Sequence[Device]) -> int | None:
    devices = [device for device in devices if device.process_index == jax.process_index()]
    if not devices:
        return None
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
    """The bytes that a container, or the job of a cluster, may still use; infinite if there is no limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
    except OSError:
        return math.inf
    return math.inf if limit == "max" else int(limit) - int(used)


def fit_in_memory(
    agent: Agent,
    num_runs: int,
    devices: Sequence[Device] | None,
    runs_at_once: int | None,
    compile_for: Callable[[Spread], jax.stages.Compiled],
) -> tuple[Spread, jax.stages.Compiled]:
    """Chooses how many runs are trained in one call so that they fit in memory, and compiles their program.

    All calls have the same number of runs.

    Args:
        agent: from `make_agent`.
        num_runs: number of runs in all calls.
        devices: devices over which runs are sharded; all of the default platform if None.
        runs_at_once: largest number of runs in one call; as many as fit in memory if None.
        compile_for: compiles the program that trains the runs of a `Spread`.

    Returns:
        The `Spread` of the runs of one call, and its program.

    Raises:
        SettingsError: if `runs_at_once` is not 1 or more, or a single run does not fit in memory.
    """
    check_runs_at_once(runs_at_once)
    most = num_runs if runs_at_once is None else runs_at_once
    while True:
        spread = _spread_equal_calls(agent, num_runs, devices, most)
        check_all_used(spread.devices)
        program = compile_for(spread)
        usable, needed = least(usable_bytes(spread.devices)), needed_bytes(program)
        if usable is None or needed <= usable:
            return spread, program
        if spread.num_runs == 1:
            told = (
                f"a run needs {mebibytes(needed)} of device memory, and {mebibytes(usable)} are usable; half of "
                "num_envs or of num_steps needs about half"
            )
            raise of_all(SettingsError(told))
        most = max(1, min(spread.num_runs - 1, spread.num_runs * usable // needed))


def check_evaluation(agent: Agent, num_runs: int, num_episodes: int, devices: Sequence[Device]) -> None:
    """Checks that the policies of all runs can be evaluated at once, by a lower bound of what that takes.

    Args:
        agent: from `make_agent`.
        num_runs: number of runs.
        num_episodes: number of episodes of each policy.
        devices: devices that the evaluation may use.

    Raises:
        SettingsError: if it does not fit in memory.
    """
    usable, state = usable_bytes(devices), state_shapes(agent)
    at_once = 1 if agent.env.on_host else num_runs
    episode = tree_bytes((state.env_state, state.obs)) / agent.config.num_envs + 4 * max(
        agent.config.hidden_sizes, default=0
    )
    needed = at_once * num_episodes * (2 * episode)  # before and after a step
    if usable is not None and needed > usable * len(devices):
        raise SettingsError(
            f"evaluating {at_once} policies in {num_episodes} episodes each needs at least {mebibytes(needed)} of "
            f"device memory, and {mebibytes(usable * len(devices))} are usable; ask for fewer episodes"
        )


def check_runs_at_once(runs_at_once: int | None) -> None:
    """Checks the number of runs in one call.

    Args:
        runs_at_once: number of runs; None stands for as many as fit.

    Raises:
        SettingsError: if it is less than 1.
    """
    if runs_at_once is not None and runs_at_once < 1:
        raise SettingsError(f"runs_at_once={runs_at_once} is out of range: it must be 1 or more")


def _spread_equal_calls(agent: Agent, num_runs: int, devices: Sequence[Device] | None, most: int) -> Spread:
    """The `Spread` of one of the fewest calls of equal size with `most` runs or fewer."""
    num_calls = -(-num_runs // min(most, num_runs))
    return spread_runs(agent, -(-num_runs // num_calls), devices)


def mebibytes(count: float) -> str:
    """Formats a number of bytes in MiB.

    Args:
        count: number of bytes.

    Returns:
        Text such as "1,024.0 MiB".
    """
    return f"{count / 2**20:,.1f} MiB"
