"""Programs in processes of their own, so that a crash of one is a finding."""

import os
import signal
import subprocess


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
        seconds: after which it counts as hanging.

    Raises:
        Broken: if it hangs, crashes or fails.
    """
    call = [python, "-c", program, *arguments]
    try:
        done = subprocess.run(call, env=users_environment(), capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Broken("hangs") from None
    if done.returncode < 0:
        raise Broken(f"crashes: {signal.Signals(-done.returncode).name}")
    if done.returncode:
        raise Broken(f"fails: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.splitlines()[-1]
