"""One process at a time writes to a run folder."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from rpo_jax.errors import SettingsError
from rpo_jax.execution.signals import stop_is_requested
from rpo_jax.files import check_no_link, make_folder, parts_of

LOCK = ".lock"
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # which Windows does not have
SECONDS = 0.5  # between two attempts of a process that waits


class InUseError(SettingsError):
    """Another process owns the folder."""


@contextlib.contextmanager
def lock_folder(folder: Path, wait: bool = False) -> Iterator[None]:
    """Owns a folder while the block runs, and creates it if it does not exist; removes it if it is empty afterwards.

    The lock is the operating system's, so that it ends with the process, however that ends. On a file system without
    locks the folder is used without.

    Args:
        folder: folder of a run or a comparison.
        wait: whether to wait for another process that owns it, until a signal asks to stop.

    Raises:
        InUseError: if another process owns it.
        SettingsError: if it cannot be created, or its file system has no locks and `wait` relies on them.
        KeyboardInterrupt: if a signal ended the waiting.
    """
    with _open_locked(folder, wait) as file:
        for leftover in parts_of(folder):  # of a process that was killed
            with contextlib.suppress(OSError):  # a folder, say
                leftover.unlink()
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if _is_at(file, folder / LOCK):  # and not that of another process, if the folder was moved
                    (folder / LOCK).unlink()
                folder.rmdir()


def _open_locked(folder: Path, wait: bool) -> TextIO:
    path = folder / LOCK
    while True:
        make_folder(folder)
        try:
            check_no_link(path)  # for the owner is written to it
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | NO_LINK, 0o666), "r+")
        except FileNotFoundError:  # its former owner has just removed the folder
            continue
        except OSError as error:
            raise SettingsError(f"cannot write to {folder}: {error.strerror}; choose another --out") from None
        try:
            if not _lock(file) and wait:
                file.close()
                raise SettingsError(
                    f"the file system of {folder} has no locks, by which jobs that share it know of each other; choose "
                    "another --out"
                )
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read() or "another process"
            if wait and stop_is_requested():
                raise KeyboardInterrupt from None
            if wait:
                time.sleep(SECONDS)
                continue
            raise InUseError(f"{folder} is in use by {holder}; wait for it, or choose another --out") from None
        with contextlib.suppress(FileNotFoundError):
            if _is_at(file, path):
                return file
        file.close()  # its former owner has just removed it


def _is_at(file: TextIO, path: Path) -> bool:
    return os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _lock(file: TextIO) -> bool:
    """Returns whether the file system has locks."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be removed
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True
