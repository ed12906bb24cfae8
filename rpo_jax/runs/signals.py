"""SIGINT and SIGTERM: the first asks training to stop, the second ends the process as it would have without us."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Gives the list of signals that have come while the block runs; outside the main thread none is caught."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, frame: Any) -> None:
        received.append(number)
        restore()
        logging.getLogger("rpo_jax").warning("stopping after the updates under way; once more ends it at once")

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, receive) for number in SIGNALS}
    try:
        yield received
    finally:
        restore()
