"""Runs checks in processes of their own, a few at a time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from rpo_jax.cores import num_cores
from rpo_jax.diagnosis.checks import Finding
from rpo_jax.probe import ANOTHER

TIME_OUT = 300.0  # seconds
# Programs are compiled anew, and processes share a GPU.
ENVIRONMENT = {"JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def run_checks(names: Sequence[str]) -> Iterator[tuple[str, Finding]]:
    """Findings by name, in the order in which the checks end."""
    with ThreadPoolExecutor(num_cores()) as pool:
        running = {pool.submit(run_check, name): name for name in names}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            for waiting in running:
                waiting.cancel()


def run_check(name: str, time_out: float = TIME_OUT) -> Finding:
    """The finding of one check; also of one that ends its process, or never ends."""
    command = [sys.executable, "-m", "rpo_jax.diagnosis", name]
    try:
        done = subprocess.run(
            command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=time_out, check=False
        )
    except subprocess.TimeoutExpired:
        return Finding(False, f"hangs: no answer in {time_out:.0f} s", ANOTHER)
    if done.returncode < 0:
        return Finding(False, f"crashes: its process ended by {signal.Signals(-done.returncode).name}", ANOTHER)
    if done.returncode:
        complaint = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding(False, f"fails: {complaint}", "please report this, with all that `rpo-jax check` prints")
    return Finding(**json.loads(done.stdout.splitlines()[-1]))
