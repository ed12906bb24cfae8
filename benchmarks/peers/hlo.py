"""Reads the text of a compiled program, optimised HLO: its loops, what each starts, and what devices exchange."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "partition-id", "replica-id")
ALLOCATION = 'custom_call_target="AllocateBuffer"'  # free too
ENDS = ("-done", "-update")  # of what was begun before
ON_TPU = re.compile(r"\{[^}]*:T\(")  # arrays lie in tiles there
ONE_ELEMENT = re.compile(r"\w+\[[1,]*\]")
OF_ARRAYS = ("fusion", "reduce", "custom-call", "copy", "copy-start", "dynamic-slice")  # even if one number results
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# What is begun before it is needed ends in -done.
EXCHANGE = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-done)?\(")
ARRAY = re.compile(r"[a-z]+(\d*)\w*\[([\d,]*)\]")  # bits of an element, none of a truth value, and the shape


class Exchange(NamedTuple):
    """What devices give each other in one operation.

    Attributes:
        kind: one of `COLLECTIVES`.
        arrays: that a device holds afterwards, such as "f32[256]".
        bytes: of these arrays.
    """

    kind: str
    arrays: list[str]
    bytes: int


class Loop(NamedTuple):
    """A loop of a compiled program, or its entry.

    Attributes:
        trips: how often it runs, one after another; None if that is not known when it is compiled.
        operations: that one pass starts by itself, by kind.
        inner: the loops in it.
        exchanges: among the operations.
    """

    trips: int | None
    operations: dict[str, int]
    inner: list["Loop"]
    exchanges: list[Exchange]


def loops_of(text: str) -> Loop:
    """The entry of an optimised HLO module, and its loops. Of a branch the longer side is taken."""
    computations, entry = _computations_of(text)

    def visit(name: str, trips: int | None) -> Loop:
        operations: Counter[str] = Counter()
        inner, exchanges = [], []
        for line in computations[name]:
            kind = _kind_of(line)
            if kind == "while":
                inner.append(visit(_named(line, "body"), _trips_of(line, computations)))
            elif kind in ("call", "conditional"):
                sides = [visit(side, 1) for side in _sides_of(line)]
                longest = max(sides, key=lambda side: started_in(side, 1))
                operations.update(longest.operations)
                inner += longest.inner
                exchanges += longest.exchanges
            elif kind:
                operations[kind] += 1
            exchanges += _exchanges_of(line, computations)
        return Loop(trips, dict(operations), inner, exchanges)

    return visit(entry, 1)


def _computations_of(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation, and the name of the entry."""
    computations: dict[str, list[str]] = {}
    name = entry = ""
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if heading := re.match(r"^(ENTRY )?%([\w.\-]+) .*\{\s*$", line):
            name = heading.group(2)
            computations[name], entry = [], name if heading.group(1) else entry
        elif line.startswith("}"):
            name = ""
        elif name:
            computations[name].append(line)
    return computations, entry


def _kind_of(line: str) -> str:
    """The kind of operation that a line starts; empty if it starts none, or one of single numbers on a TPU."""
    found = re.search(r"= (\([^=]*?\)|\S+) ([\w\-]+)\(", line)
    if not found or found.group(2) in FREE or found.group(2).endswith(ENDS) or ALLOCATION in line:
        return ""
    on_scalar_core = ON_TPU.search(found.group(1)) and ONE_ELEMENT.match(found.group(1))
    return "" if on_scalar_core and found.group(2) not in OF_ARRAYS else found.group(2)


def _exchanges_of(line: str, computations: dict[str, list[str]]) -> list[Exchange]:
    """The exchange that a line ends, or those that are fused in it."""
    if found := EXCHANGE.search(line):
        arrays = list(ARRAY.finditer(found.group(1)))
        return [Exchange(found.group(2), [array.group() for array in arrays], sum(map(_bytes_of, arrays)))]
    called = re.search(r" (?:fusion|async-start)\(.* calls=%([\w.\-]+)", line)
    lines = computations.get(called.group(1), []) if called else []
    return [exchange for inner in lines for exchange in _exchanges_of(inner, computations)]


def _bytes_of(array: re.Match[str]) -> int:
    return int(array.group(1) or 8) // 8 * math.prod(int(size) for size in array.group(2).split(",") if size)


def _trips_of(line: str, computations: dict[str, list[str]]) -> int | None:
    """How often a loop runs: as XLA notes, or, for a TPU, as its condition says; it counts from 0."""
    if noted := re.search(r'known_trip_count":\{"n":"(\d+)"', line):
        return int(noted.group(1))
    condition = computations[_named(line, "condition")]
    root = next(line for line in condition if "ROOT" in line)
    limit = re.search(r" compare\(%[\w.\-]+, %([\w.\-]+)\), direction=LT", root)
    value = limit and re.search(rf"%{re.escape(limit.group(1))} = .* constant\((\d+)\)", "\n".join(condition))
    return int(value.group(1)) if value else None


def _sides_of(line: str) -> list[str]:
    """The computations of a call or of a branch."""
    sides = re.findall(r"(?:to_apply|true_computation|false_computation)=%?([\w.\-]+)", line)
    several = re.search(r"branch_computations=\{([^}]*)\}", line)
    return sides + (re.findall(r"[\w.\-]+", several.group(1)) if several else [])


def _named(line: str, part: str) -> str:
    found = re.search(rf"{part}=%?([\w.\-]+)", line)
    assert found, line
    return found.group(1)


def find_update(entry: Loop, updates: int) -> Loop:
    """The loop over updates: of so many trips, and with most in it."""
    return max((loop for loop in _all_of(entry) if loop.trips == updates), key=lambda loop: started_in(loop, 1))


def _all_of(loop: Loop) -> Iterator[Loop]:
    yield loop
    for inner in loop.inner:
        yield from _all_of(inner)


def started_in(loop: Loop, unknown: int) -> int:
    """Operations that one pass starts in all; a loop of unknown length is taken to run `unknown` times."""
    inner = sum((inner.trips or unknown) * started_in(inner, unknown) for inner in loop.inner)
    return sum(loop.operations.values()) + inner


def describe(loop: Loop) -> dict[str, Any]:
    """The same for JSON."""
    own = {"trips": loop.trips, "operations": sum(loop.operations.values())}
    return own | ({"loops": [describe(inner) for inner in loop.inner]} if loop.inner else {})


def exchanges_in(loop: Loop) -> Iterator[tuple[Exchange, tuple[int | None, ...]]]:
    """Every exchange of a loop, and how often each of the loops around it runs, from the outermost on."""
    yield from ((exchange, ()) for exchange in loop.exchanges)
    for inner in loop.inner:
        yield from ((exchange, (inner.trips, *trips)) for exchange, trips in exchanges_in(inner))
