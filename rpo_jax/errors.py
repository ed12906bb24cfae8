"""Errors and warnings that users see: settings that cannot be used, and environments that fail."""

import difflib
import logging
from collections.abc import Iterable
from functools import lru_cache

MOST_NAMES = 40  # names that an error lists at most


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
            message: what failed.
            index: position of the environment in its pool; None if unknown.
        """
        super().__init__(message)
        self.index = index
        self.pool: int | None = None


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
