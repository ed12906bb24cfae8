"""A simulator on the host that breaks at a chosen step; only once, if a file says so."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rpo_jax import register
from rpo_jax.envs.host import host_environment
from rpo_jax.envs.pool import Outcome

NAME = "disturbed/breaking"
HOW, WHEN, ONCE = "RPO_JAX_BREAKS", "RPO_JAX_BREAKS_AT", "RPO_JAX_BROKEN"  # variables of the process
BOUNDS = {"observation_size": 1, "low": -np.ones(1, np.float32), "high": np.ones(1, np.float32)}


def hang() -> None:
    """Never returns."""
    print("hangs", flush=True)
    threading.Event().wait()


def crash() -> None:
    """Ends the process as a fault in native code does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def interrupt() -> None:
    """Is Ctrl-C, pressed twice."""
    for _ in range(2):
        signal.raise_signal(signal.SIGINT)


def fail() -> None:
    """Raises an error."""
    raise RuntimeError("the leg came off")


BREAKS: dict[str, Callable[[], None]] = {"hang": hang, "crash": crash, "interrupt": interrupt, "fail": fail}


class Breaking:
    """A pool whose observations are its actions; episodes have 20 steps. It breaks at a step, or when it is closed."""

    steps = closings = 0  # of all pools

    def __init__(self, given: Any):
        self._count, self._time = len(given), 0

    def reset(self) -> np.ndarray:
        """Returns zeros."""
        return np.zeros((self._count, 1), np.float32)

    def step(self, action: np.ndarray) -> Outcome:
        """Breaks, if it is time for that."""
        Breaking.steps += 1
        if str(Breaking.steps) == os.environ.get(WHEN):
            _break_once()
        self._time += 1
        none = np.zeros(self._count, bool)
        return Outcome(action, -(action[:, 0] ** 2), none, none | (self._time % 20 == 0), action)

    def close(self) -> None:
        """Breaks, if that is when."""
        Breaking.closings += 1
        if os.environ.get(WHEN) == f"close {Breaking.closings}":
            _break_once()


def _break_once() -> None:
    marker = Path(os.environ[ONCE])
    if not marker.exists():
        marker.touch()
        BREAKS[os.environ[HOW]]()


def at(how: str, when: int | str, marker: Path) -> dict[str, str]:
    """The variables that make it break.

    Args:
        how: one of `BREAKS`.
        when: number of the step, or "close 1" for the first time that it is closed, say.
        marker: a file that is made then; it does not break where that exists.
    """
    return {HOW: how, WHEN: str(when), ONCE: str(marker)}


register("environment", NAME, lambda: host_environment(Breaking, name=NAME, **BOUNDS))
