"""Checks of JSON that was read from a folder: names, types, nesting and lengths, before anything uses it.

A kind is `bool`, `int`, `float`, `str`, `dict` or None; a list of one kind; a tuple of alternatives; or a dictionary of
kinds by name, which other names may accompany. `{str: kind}` has any names. Infinities are text, see `files.plain`.
"""

import contextlib
from typing import Any

from rpo_jax.errors import SettingsError

NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "an object",
    None: "null",
}
INFINITIES = ("inf", "-inf")


def check(content: Any, kind: Any, place: str = "its content") -> None:
    """Checks that content is of a kind.

    Args:
        content: what was read from a JSON file.
        kind: what it must be.
        place: where it stands in the file, for the error.

    Raises:
        SettingsError: if it is not; the message names the first place.
    """
    if isinstance(kind, tuple):
        _check_alternatives(content, kind, place)
    elif isinstance(kind, list):
        _require(isinstance(content, list), place, "a list")
        for index, item in enumerate(content):
            check(item, kind[0], f"{place}[{index}]")
    elif isinstance(kind, dict):
        _require(isinstance(content, dict), place, "an object")
        for name, inner in (dict.fromkeys(content, kind[str]) if str in kind else kind).items():
            _require(name in content, place, f"an object with the entry {name!r}")
            check(content[name], inner, f"{place}[{name!r}]")
    else:
        _require(_is(content, kind), place, NAMES[kind])


def check_shape(content: Any, shape: tuple[int, ...], place: str) -> None:
    """Checks that nested lists have a shape.

    Args:
        content: nested lists.
        shape: the length at each level.
        place: where they stand in the file, for the error.

    Raises:
        SettingsError: if they do not.
    """
    _require(len(content) == shape[0], place, f"of length {shape[0]}")
    for index, item in enumerate(content) if shape[1:] else ():
        check_shape(item, shape[1:], f"{place}[{index}]")


def _check_alternatives(content: Any, kinds: tuple[Any, ...], place: str) -> None:
    for kind in kinds[:-1]:
        with contextlib.suppress(SettingsError):
            return check(content, kind, place)
    return check(content, kinds[-1], place)


def _is(content: Any, kind: Any) -> bool:
    if kind is None:
        return content is None
    if kind is int:
        return type(content) is int and abs(content) < 2**63
    if kind is float:
        return type(content) is float or _is(content, int) or content in INFINITIES
    return type(content) is kind


def _require(holds: bool, place: str, expected: str) -> None:
    if not holds:
        raise SettingsError(f"{place} is not {expected}")
