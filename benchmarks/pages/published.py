"""What others have published of the tasks: `published.csv`."""

import csv
import functools
import math
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from pages.markdown import number

SEEDS = 10  # of published means
PUBLISHED = Path(__file__).parent.parent / "published.csv"


@functools.cache
def _rows() -> list[dict[str, str]]:
    with PUBLISHED.open() as lines:
        return list(csv.DictReader(lines))


def published(task: str, method: str, setting: str = "", sources: Collection[str] = ()) -> str:
    """Published returns, each with its source: mean and standard deviation, or what a picture shows.

    Args:
        task: such as "WalkerRun-v1".
        method: as in `published.csv`.
        setting: the head, if not normal.
        sources: these alone; all if none.
    """
    wanted = {"task": task, "method": method, "setting": setting}
    found = (row for row in _rows() if wanted.items() <= row.items() and (not sources or row["source"] in sources))
    return "; ".join(f"{number(float(row['mean']))}{_deviation(row['std'])} ({row['source']})" for row in found)


class PublishedDifference(NamedTuple):
    """The published difference of the mean returns of two methods.

    Attributes:
        value: the difference.
        error: its standard error; NaN of what was read off a picture.
        source: where both are published.
    """

    value: float
    error: float
    source: str


def published_difference(task: str, method: str, other: str, setting: str = "") -> PublishedDifference | None:
    """The published difference of two methods, from a source that has both, a table if there is one."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for row in sorted(_rows(), key=lambda row: "read off" in row["source"]):
        if (row["task"], row["setting"]) == (task, setting):
            values = float(row["mean"]), float(row["std"] or "nan")
            found.setdefault(row["source"], {})[row["method"]] = values
    for source, values in found.items():
        if {method, other} <= set(values):
            (mean, std), (other_mean, other_std) = values[method], values[other]
            return PublishedDifference(mean - other_mean, math.hypot(std, other_std) / math.sqrt(SEEDS), source)
    return None


def _deviation(std: str) -> str:
    return f" +- {number(float(std))}" if std else ""
