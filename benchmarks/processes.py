"""Programs in processes of their own, so that a crash of one is a finding."""

import contextlib
import math
import os
import signal
import subprocess

WAIT = 5.0  # seconds


def users_environment() -> dict[str, str]:
    """The environment of a process in which nothing has been set for JAX, as users have it."""
    return {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "PJRT_NPROC")}


class Broken(Exception):
    """How a program ended that did not end well, such as "hangs"."""


def last_line(python: str, program: str, *arguments: str, seconds: float) -> str:
    """The last line that a program prints.

    Args:
        python: the interpreter.
        program: its text.
        *arguments: of the program.
        seconds: after which it counts as hanging; those in which this process was stopped, by SIGSTOP, do not count.

    Raises:
        Broken: if it hangs, crashes or fails.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [python, "-c", program, *arguments], env=users_environment(), stdout=pipe, stderr=pipe, text=True
    ) as process:
        out, err = _communicate(process, seconds)
    if process.returncode < 0:
        raise Broken(f"crashes: {signal.Signals(-process.returncode).name}")
    if process.returncode:
        raise Broken(f"fails: {err.strip().splitlines()[-1]}")
    return out.splitlines()[-1]


def _communicate(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    for _ in range(math.ceil(seconds / WAIT)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=WAIT)
    process.kill()
    raise Broken("hangs")
