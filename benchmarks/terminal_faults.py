"""Faults of the terminal: it is closed, or nobody reads any more what is printed."""

import contextlib
import os
import pty
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import disturbed
from process_faults import Outcomes, Whole, go_on, places
from rpo_jax.runs.folder import SUMMARY
from rpo_jax.runs.summary import is_finished, read_summary


def closed(scratch: Path) -> Outcomes:
    """Commands whose terminal is closed at a random moment; half of them get SIGHUP from their shell too."""
    whole = Whole(scratch)
    for path in places(scratch):
        ours, theirs = pty.openpty()
        process = _begin(["setsid", "--ctty"], path, theirs)
        _read(ours, process, whole.moment())
        alive = process.poll() is None
        os.close(ours)
        if random.random() < 0.5:
            process.send_signal(signal.SIGHUP)
        process.wait()
        if alive and not is_finished(path):
            done = read_summary(path)["total_timesteps"] if (path / SUMMARY).exists() else 0
            lost = done // disturbed.spec().config.round_timesteps - go_on(path)
            yield {"survived": whole.equals(path), "lost": max(lost, 0)}


def unread(scratch: Path) -> Outcomes:
    """Commands whose output goes to a process that ends at a random moment, as `head` does; they go on."""
    whole = Whole(scratch)
    for path in places(scratch):
        ours, theirs = os.pipe()
        process = _begin([], path, theirs)
        _read(ours, process, whole.moment())
        alive = process.poll() is None
        os.close(ours)
        process.wait()
        if alive:
            yield {"survived": process.returncode == 0 and whole.equals(path), "lost": 0}


def _begin(before: list[str], path: Path, output: int) -> subprocess.Popen[bytes]:
    program = [*before, sys.executable, "-m", "rpo_jax", *disturbed.command(path)]
    try:
        return subprocess.Popen(program, stdin=output, stdout=output, stderr=output, env=disturbed.variables())
    finally:
        os.close(output)


def _read(output: int, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Reads what is printed for some time, so that the process need not wait for it."""
    end = time.monotonic() + seconds
    with contextlib.suppress(OSError):  # of a terminal whose process has just ended
        while (left := end - time.monotonic()) > 0 and process.poll() is None:
            if select.select([output], [], [], min(left, 0.1))[0]:
                os.read(output, 2**16)
