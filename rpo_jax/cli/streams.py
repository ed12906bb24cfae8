"""Standard output and error of the command, which never fail: what cannot be shown is dropped."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast


class Lenient:
    """A text stream whose writes cannot fail, since a terminal that was closed must not cost a run.

    After the first error of the operating system its file descriptor is `os.devnull`, so that what is still in a
    buffer, and what other libraries write to the same descriptor, cannot fail either.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes `text`, or drops it; returns its length either way."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self._try(lambda: self._stream.write(text.encode(encoding, "replace").decode(encoding)), len(text))
        except (OSError, ValueError, RuntimeError):
            return self._try(self._abandon, len(text))

    def flush(self) -> None:
        """Flushes the stream, or drops what is in its buffer."""
        try:
            self._stream.flush()
        except (OSError, ValueError, RuntimeError):
            self._try(self._abandon, 0)

    def _abandon(self) -> None:
        """Leads the descriptor to nowhere. (A RuntimeError is a write within a signal handler, and passes.)"""
        if isinstance(sys.exception(), OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    @staticmethod
    def _try(write: Callable[[], Any], length: int) -> int:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            write()
        return length

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lenient_streams() -> Iterator[None]:
    """Makes standard output and error of this process `Lenient` while the block runs."""
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = (cast(TextIO, Lenient(stream or nowhere)) for stream in before)
        try:
            yield
            sys.stdout.flush()
        finally:
            sys.stdout, sys.stderr = before


def open_closed_descriptors() -> None:
    """Opens `os.devnull` in place of standard descriptors that are closed, so that no file takes their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
