"""Runs groups of checks, each in its own process, since a fault may crash or hang it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from rpo_jax.compiling.cores import num_cores
from rpo_jax.compiling.probe import remedy, report_it
from rpo_jax.diagnosis.checks import Finding

TIME_OUT = 600.0  # seconds that a process may take
MOST = 4  # processes at once; each needs about a gigabyte of memory
# Programs are compiled, without a cache; processes share a GPU; tracebacks are complete.
ENVIRONMENT = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "JAX_DISABLE_JIT": "false",
    "JAX_TRACEBACK_FILTERING": "off",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def run_checks(groups: Sequence[Sequence[str]]) -> Generator[tuple[str, Finding]]:
    """Runs groups of checks in parallel processes, which are killed if the caller stops iterating.

    Args:
        groups: names of checks; those of a group share a process.

    Yields:
        Name and finding of each check, group by group in the order in which they finish.
    """
    count = 1 if find_spec("libtpu") else min(MOST, num_cores())  # a TPU can be used by one process only
    started: list[subprocess.Popen[bytes]] = []
    with ThreadPoolExecutor(count) as pool:
        running = {pool.submit(run_group, names, started=started): names for names in groups}
        try:
            for done in as_completed(running):
                yield from zip(running[done], done.result(), strict=True)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in started:
                process.kill()


def run_group(
    names: Sequence[str], time_out: float = TIME_OUT, started: list[subprocess.Popen[bytes]] | None = None
) -> list[Finding]:
    """Runs checks in one process. A check that crashes or hangs is a finding; those after it are not reached.

    Args:
        names: names of the checks.
        time_out: seconds after which the process is killed.
        started: list to which the process is appended.

    Returns:
        The finding of each check.
    """
    # -P: modules in the current folder are not imported.
    command = [sys.executable, "-P", "-m", "rpo_jax.diagnosis", *names]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        # It exits when its input is closed, so also if this process is killed.
        process = subprocess.Popen(command, env=_environment(), stdin=subprocess.PIPE, stdout=out, stderr=errors)
        if started is not None:
            started.append(process)
        end = None
        with process:
            try:
                process.wait(time_out)
            except subprocess.TimeoutExpired:
                process.kill()
                end = Finding(False, f"no answer in {time_out:.0f} s: it hangs, or the machine is busy", remedy())
        lines, error_lines = (_read_lines(file) for file in (out, errors))
    findings = [Finding(**json.loads(line)) for line in lines if line.startswith("{")]
    missing = len(names) - len(findings)
    end = end or _explain_exit(process.returncode, error_lines)
    return [*findings, *[end] * min(missing, 1), *[Finding(False, "not reached", end.remedy)] * (missing - 1)]


def _environment() -> dict[str, str]:
    """The environment variables of a process; it can use the CPU, and imports the same rpo_jax as this process."""
    own = dict(ENVIRONMENT)
    if platforms := os.environ.get("JAX_PLATFORMS"):
        own["JAX_PLATFORMS"] = platforms if "cpu" in platforms.split(",") else f"{platforms},cpu"
    paths = os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])
    own["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return os.environ | own


def _read_lines(file: IO[str]) -> list[str]:
    file.seek(0)
    return file.read().splitlines()


def _explain_exit(returncode: int, error_lines: Sequence[str]) -> Finding:
    """The finding of a check whose process exited without printing one."""
    if returncode == -signal.SIGKILL:
        return Finding(False, "its process was killed: memory may be short", "free memory, and try again")
    if returncode < 0:
        return Finding(False, f"crashes: its process was ended by {_signal_name(-returncode)}", remedy())
    # Indented lines are a part of a longer message.
    messages = [line for line in error_lines if line[:1].strip()] or ["no message"]
    return Finding(False, f"fails: {messages[-1]}", report_it())


def _signal_name(number: int) -> str:
    names = {known.value: known.name for known in signal.Signals}
    return names.get(number, f"signal {number}")
