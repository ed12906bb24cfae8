"""Runs groups of checks, each in a process of its own, since a fault may end or hang it."""

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

TIME_OUT = 600.0  # seconds, of a process
MOST = 4  # processes at once: each takes about a gigabyte
# Programs are compiled anew, and really compiled; processes share a GPU; errors are told whole.
ENVIRONMENT = {
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "JAX_DISABLE_JIT": "false",
    "JAX_TRACEBACK_FILTERING": "off",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def run_checks(groups: Sequence[Sequence[str]]) -> Generator[tuple[str, Finding]]:
    """Findings by name; groups in the order in which they end. Where the caller stops, so do the processes."""
    count = 1 if find_spec("libtpu") else min(MOST, num_cores())  # a TPU takes one process
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
    """The findings of checks that share a process; also of one that ends it, or never ends.

    Args:
        names: of the checks.
        time_out: seconds.
        started: gets the process.
    """
    # -P: what lies in the current folder is not imported.
    command = [sys.executable, "-P", "-m", "rpo_jax.diagnosis", *names]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        # It ends when its input does, as when this process dies.
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
        lines, complaints = (_lines(file) for file in (out, errors))
    findings = [Finding(**json.loads(line)) for line in lines if line.startswith("{")]
    missing = len(names) - len(findings)
    end = end or _told(process.returncode, complaints)
    return [*findings, *[end] * min(missing, 1), *[Finding(False, "not reached", end.remedy)] * (missing - 1)]


def _environment() -> dict[str, str]:
    """Of a process; with a CPU to compare with, and rpo_jax where this process has it from."""
    own = dict(ENVIRONMENT)
    if platforms := os.environ.get("JAX_PLATFORMS"):
        own["JAX_PLATFORMS"] = platforms if "cpu" in platforms.split(",") else f"{platforms},cpu"
    paths = os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[2])
    own["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return os.environ | own


def _lines(file: IO[str]) -> list[str]:
    file.seek(0)
    return file.read().splitlines()


def _told(returncode: int, complaints: Sequence[str]) -> Finding:
    """How a process ended that gave no finding."""
    if returncode == -signal.SIGKILL:
        return Finding(False, "its process was killed: memory may be short", "free memory, and try again")
    if returncode < 0:
        return Finding(False, f"crashes: its process was ended by {_name(-returncode)}", remedy())
    told = [line for line in complaints if line[:1].strip()] or ["no message"]  # indented lines are of a longer text
    return Finding(False, f"fails: {told[-1]}", report_it())


def _name(number: int) -> str:
    names = {known.value: known.name for known in signal.Signals}
    return names.get(number, f"signal {number}")
