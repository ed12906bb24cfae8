"""SIGINT, SIGTERM and SIGHUP: the first asks training to stop, the second ends the process as it would without us."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a scheduler's, and that of a terminal that closes
SIGNALS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
_outer: list[list[int]] = []  # that of the outermost block


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Gives the list of signals that have come while the block runs.

    One that the process ignores, as under `nohup`, is ignored on; outside the main thread none is caught. A block
    inside of another shares its list: what came in one part of a command ends the others.
    """
    if _outer or threading.current_thread() is not threading.main_thread():
        yield _outer[0] if _outer else []
        return
    received: list[int] = []

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        restore()
        logging.getLogger("rpo_jax").warning("stopping after the updates under way; once more ends it at once")

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
