"""What a user sees when a setting or a name cannot be used, or an environment fails."""

import difflib
from collections.abc import Iterable

MOST_NAMES = 40  # that an error lists


class SettingsError(ValueError):
    """A setting, name or folder that cannot be used; its message is one line that says what to do."""


class SimulatorError(RuntimeError):
    """An environment that steps on the host failed.

    Attributes:
        index: which of its pool; None if that is not known.
        pool: the number of the pool, once known.
    """

    def __init__(self, message: str, index: int | None = None):
        super().__init__(message)
        self.index = index
        self.pool: int | None = None


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SettingsError:
    """The error for a name that does not exist: it lists the nearest known names, or all of them."""
    names = sorted(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    near = [lowered[match] for match in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    more = f", ... ({len(names)} in all)" if len(names) > MOST_NAMES else ""
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:MOST_NAMES])}{more}"
    return SettingsError(f"unknown {kind} {name!r}; {hint}")
