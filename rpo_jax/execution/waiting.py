"""Waiting for environments on the host, which may never answer: signals are handled all the same."""

import atexit
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rpo_jax.execution.signals import SIGNALS, stop_is_requested

if TYPE_CHECKING:
    from rpo_jax.envs.protocol import Environment

SECONDS = 5.0  # between a signal and the message that names the environment
INTERVAL = 0.2  # seconds after which the message may be due

Result = TypeVar("Result")
_left_behind: list[threading.Event] = []  # set where the call has ended after all


def call(env: "Environment", function: Callable[[], Result]) -> Result:
    """Calls a function that steps an environment. If that is on the host, the function gets a thread of its own.

    Python handles signals in the main thread only, and not while that waits for a compiled program.

    Args:
        env: the environment.
        function: the function; its thread is left behind if a signal interrupts the waiting.

    Returns:
        The result of the function.

    Raises:
        KeyboardInterrupt: if a signal that is not caught arrives. A further one ends the process, if it comes while the
            result of a `fit` is saved or Python exits.
    """
    if not env.on_host or threading.current_thread() is not threading.main_thread():
        return function()
    from rpo_jax.execution.contexts import inherit  # imports JAX, which a command sets up first

    results: list[Result] = []
    errors: list[BaseException] = []
    done = threading.Event()
    function = inherit(function)

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    try:
        threading.Thread(target=run, daemon=True).start()
        _wait(done, env.name)
    except BaseException:
        _leave_behind(done)
        raise
    if errors:
        raise errors[0]
    return results[0]


def call_and_check(env: "Environment", function: Callable[[], Result]) -> Result:
    """Calls a function as `call` does, and waits for its arrays; earlier failures of the environment do not count.

    Args:
        env: the environment.
        function: the function.

    Returns:
        The result of the function.

    Raises:
        SimulatorError: if the environment failed in the function.
        KeyboardInterrupt: as `call` raises it.
    """
    from jax import block_until_ready

    env.forget()
    result = call(env, lambda: block_until_ready(function()))
    env.check()
    return result


def is_hanging() -> bool:
    """Returns whether a call that was left behind has not ended."""
    return not all(done.is_set() for done in _left_behind)


def _wait(done: threading.Event, name: str) -> None:
    asked = None
    while not done.wait(INTERVAL):
        if asked is None and stop_is_requested():
            asked = time.monotonic()
        if asked is not None and time.monotonic() - asked > SECONDS:
            asked = float("inf")
            logging.getLogger("rpo_jax").warning(
                f"still waiting for {name}; repeat the signal to stop without what has begun"
            )


def _leave_behind(done: threading.Event) -> None:
    _left_behind.append(done)
    if stop_is_requested():  # what saves the result may wait for a device that hangs; the block restores the handlers
        _let_signals_kill()
    atexit.register(_let_signals_kill)  # JAX waits for what is running when Python exits


def _let_signals_kill() -> None:
    if is_hanging():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
