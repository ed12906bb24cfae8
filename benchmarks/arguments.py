"""Names on the command line."""

import sys
from collections.abc import Iterable, Sequence

from rpo_jax.errors import unknown_name


def chosen(kind: str, names: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """The names that were given, or all known ones if none was; an unknown one ends the program.

    Args:
        kind: what is named, for the message.
        names: given on the command line.
        known: all there are.
    """
    known = tuple(known)
    for name in names:
        if name not in known:
            sys.exit(str(unknown_name(kind, name, known)))
    return tuple(names) or known
