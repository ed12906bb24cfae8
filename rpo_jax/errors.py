"""Errors and warnings that users see: settings that cannot be used, and environments that fail."""

import difflib
import logging
from collections.abc import Iterable
from functools import lru_cache

MOST_NAMES = 40  # names that an error lists at most
MOST_WORDS = 500  # characters of a message that others wrote


class SettingsError(ValueError):
    """A setting, name or folder cannot be used. The message is one line that says what to do."""


class SimulatorError(RuntimeError):
    """An environment that is stepped on the host failed.

    Attributes:
        index: position of the environment in its pool; None if unknown.
        pool: number of the pool; None until it is known.
    """

    def __init__(self, message: str, index: int | None = None):
        """Creates the error.

        Args:
            message: what failed; long text is shortened.
            index: position of the environment in its pool; None if unknown.
        """
        super().__init__(one_line(message, MOST_WORDS))
        self.index = index
        self.pool: int | None = None


class LostProcessError(RuntimeError):
    """Raised in the other processes of a job when one has ended without a word: nothing can be exchanged any more."""


def counted(count: int, noun: str) -> str:
    """Returns a `count` with its `noun`, as in "1 seed" or "3 seeds"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def one_line(text: object, most: int) -> str:
    """Makes one line of text that others may have written: without control characters, which terminals obey.

    Args:
        text: the text, or an error.
        most: largest number of characters; longer text is shortened.

    Returns:
        The line.
    """
    try:
        words = str(text)[: 10 * most].split()
    except Exception:  # an error of another package can fail to say what it is
        words = [type(text).__name__]
    line = "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in " ".join(words))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def described(error: BaseException, most: int = 300) -> str:
    """Describes an error of another package by its type and its message, as one line.

    Args:
        error: the error.
        most: largest number of characters of the message.

    Returns:
        The line.
    """
    return f"{type(error).__name__}: {one_line(error, most)}".rstrip(": ")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SettingsError:
    """Returns the error for a name that does not exist; it suggests similar names, or lists the known ones.

    Args:
        kind: what the name should name, such as "environment".
        name: the unknown name.
        known: the names that exist.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    near = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    more = f", ... ({len(names)} in all)" if len(names) > MOST_NAMES else ""
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:MOST_NAMES])}{more}"
    return SettingsError(f"unknown {kind} {name!r}; {hint}")


@lru_cache
def warn_once(message: str) -> None:
    """Logs a warning, unless this process has logged the same one before.

    Args:
        message: one line that says what to do.
    """
    logging.getLogger("rpo_jax").warning(message)
