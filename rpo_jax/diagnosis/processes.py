"""Runs groups of checks, each in a process of its own, since a fault may end or hang it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec

from rpo_jax.cores import num_cores
from rpo_jax.diagnosis.checks import Finding
from rpo_jax.probe import remedy

TIME_OUT = 600.0  # seconds, of a process
MOST = 4  # processes at once: each takes about a gigabyte


def run_checks(groups: Sequence[Sequence[str]]) -> Iterator[tuple[str, Finding]]:
    """Findings by name; groups in the order in which they end."""
    count = 1 if find_spec("libtpu") else min(MOST, num_cores())  # a TPU takes one process
    with ThreadPoolExecutor(count) as pool:
        running = {pool.submit(run_group, names): names for names in groups}
        try:
            for done in as_completed(running):
                yield from zip(running[done], done.result(), strict=True)
        finally:
            for waiting in running:
                waiting.cancel()


def run_group(names: Sequence[str], time_out: float = TIME_OUT) -> list[Finding]:
    """The findings of checks that share a process; also of one that ends it, or never ends."""
    command = [sys.executable, "-m", "rpo_jax.diagnosis", *names]
    try:
        done = subprocess.run(
            command, env=_environment(), capture_output=True, text=True, timeout=time_out, check=False
        )
        lines, end = done.stdout.splitlines(), _told(done)
    except subprocess.TimeoutExpired as stopped:
        lines = (stopped.stdout or b"").decode().splitlines()
        end = Finding(False, f"no answer in {time_out:.0f} s: it hangs, or the machine is busy", remedy())
    findings = [Finding(**json.loads(line)) for line in lines if line.startswith("{")]
    missing = len(names) - len(findings)
    return [*findings, *[end] * min(missing, 1), *[Finding(False, "not reached", end.remedy)] * (missing - 1)]


def _environment() -> dict[str, str]:
    """Programs are compiled anew, processes share a GPU, and there is a CPU to compare with."""
    own = {"JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if platforms := os.environ.get("JAX_PLATFORMS"):
        own["JAX_PLATFORMS"] = platforms if "cpu" in platforms.split(",") else f"{platforms},cpu"
    return os.environ | own


def _told(done: subprocess.CompletedProcess[str]) -> Finding:
    """How a process ended that gave no finding."""
    if done.returncode == -signal.SIGKILL:
        return Finding(False, "its process was killed: memory may be short", "free memory, and try again")
    if done.returncode < 0:
        return Finding(False, f"crashes: its process was ended by {_name(-done.returncode)}", remedy())
    complaint = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return Finding(False, f"fails: {complaint}", "please report this, with all that `rpo-jax check` prints")


def _name(number: int) -> str:
    names = {known.value: known.name for known in signal.Signals}
    return names.get(number, f"signal {number}")
