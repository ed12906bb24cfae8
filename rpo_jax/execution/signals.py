"""SIGINT, SIGTERM and SIGHUP: the first signal asks training to stop, a second one has its usual effect.

A terminal that closes sends SIGHUP twice, by the shell and by the kernel: it counts once.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # of Ctrl-C, of a scheduler, and of a terminal that is closed
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
CLOSING = {number for number in SIGNALS if number.name == "SIGHUP"}
_outer: list[list[int]] = []  # the list of the outermost block


def stop_is_requested() -> bool:
    """Returns whether a block of `stop_requests` has received a signal."""
    return any(_outer)


@contextlib.contextmanager
def interrupted_by_all() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt while the block runs, as SIGINT does, instead of killing.

    So a command cleans up and says what happened whatever ends it. Signals that are ignored or handled already stay so,
    and nothing is done outside the main thread.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    deadly = [number for number in SIGNALS if in_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in deadly:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in deadly:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Catches the first signal that arrives while the block runs.

    After it SIGHUP is ignored, and the other signals have their usual effect. Signals that the process ignores, as
    under `nohup`, stay ignored, and outside the main thread none is caught. A block inside another one shares its list,
    so that a signal ends all parts of a command.

    Yields:
        The list of the signals received so far; empty if none.
    """
    if _outer or threading.current_thread() is not threading.main_thread():
        yield _outer[0] if _outer else []
        return
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()
        for number in CLOSING & before.keys():
            signal.signal(number, signal.SIG_IGN)
        logging.getLogger("rpo_jax").warning(
            "stopping after the updates in progress; repeat the signal to stop immediately"
        )

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, receive)
    _outer.append(received)
    try:
        yield received
    finally:
        _outer.clear()
        restore()
