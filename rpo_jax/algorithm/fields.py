"""Fields of the settings: each has its documentation and its bounds as metadata."""

import dataclasses
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from rpo_jax.errors import SettingsError

FAR = 10**5  # from a number that does not divide another, the nearest that do are not looked for further away

Record = TypeVar("Record", bound=type)


def setting(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    finite: bool = True,
) -> Any:
    """Creates a dataclass field of a settings record.

    Args:
        default: its default.
        doc: its documentation, which `--help` shows.
        low: least value; any if None.
        above: number above which values are; any if None.
        high: largest value; any if None.
        finite: whether infinity is refused.

    Returns:
        The field.
    """
    bounds = {"low": low, "above": above, "high": high}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return dataclasses.field(default=default, metadata={"doc": doc, "finite": finite, **given})


def documented(record: Record) -> Record:
    """Returns a dataclass, `record`, with the documentation of its fields added to its docstring."""
    lines = [f"        {field.name}: {field.metadata['doc']}" for field in dataclasses.fields(record)]
    summary, _, rest = (record.__doc__ or "").partition("\n\n")
    record.__doc__ = "\n".join([f"{summary}\n\n    Attributes:", *lines, f"\n{rest}"])
    return record


def check_field(field: dataclasses.Field, value: Any) -> None:
    """Checks the value of a field by its type and bounds.

    Args:
        field: a field from `setting`.
        value: its value.

    Raises:
        SettingsError: if it has another type, or is out of range.
    """
    if get_origin(field.type) is Literal:
        _check_choice(field.name, value, get_args(field.type))
    elif field.type is bool:
        _check_choice(field.name, value, (True, False))
    elif get_origin(field.type) is tuple:
        if not isinstance(value, tuple):
            raise SettingsError(f"{field.name}={value!r} is not a tuple of numbers, such as (64, 64)")
        check_values(field, value, whole=get_args(field.type)[0] is int)
    else:
        check_values(field, [value], whole=True)


def _check_choice(name: str, value: Any, choices: tuple) -> None:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise SettingsError(f"{name}={value!r} is not one of {', '.join(map(str, choices))}")


def check_values(field: dataclasses.Field, values: Iterable[Any], whole: bool = False) -> None:
    """Checks numbers by the bounds of a field.

    Args:
        field: a field from `setting`.
        values: the numbers.
        whole: whether they must be whole numbers.

    Raises:
        SettingsError: if one is out of range or not a number.
    """
    kind = numbers.Integral if whole else numbers.Real
    for value in values:
        if isinstance(value, bool) or not isinstance(value, kind):
            raise SettingsError(f"{field.name}={value!r} is not a {'whole number' if whole else 'number'}")
        for complaint in _complaints(value, field.metadata):
            raise SettingsError(f"{field.name}={value} is out of range: it must be {complaint}")


def _complaints(value: Any, bounds: Mapping[str, Any]) -> Iterator[str]:
    number = _as_float(value)
    if math.isnan(number) or (math.isinf(number) and bounds.get("finite", True)):
        yield "a finite number"
    if "low" in bounds and value < bounds["low"]:
        yield f"{bounds['low']} or more"
    if "above" in bounds and value <= bounds["above"]:
        yield f"above {bounds['above']}"
    if "high" in bounds and value > bounds["high"]:
        yield f"{bounds['high']} or less"


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_divides(name: str, divisor: int, of: str, total: int, most: int) -> None:
    """Checks that a number divides another one.

    Args:
        name: name of the number, for the error.
        divisor: the number.
        of: description of the other one.
        total: the other one.
        most: largest number that the error suggests.

    Raises:
        SettingsError: if it does not; the message names the nearest that do.
    """
    if total % divisor == 0:
        return
    below = next((d for d in range(min(divisor, most), max(0, divisor - FAR), -1) if total % d == 0), None)
    above = next((d for d in range(divisor, min(divisor + FAR, most) + 1) if total % d == 0), None)
    near = " and ".join(str(d) for d in (below, above) if d is not None)
    raise SettingsError(
        f"{name}={divisor} does not divide {of} = {total}{near and f'; the nearest that do are {near}'}"
    )
