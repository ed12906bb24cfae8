"""What others have published of the tasks: `published.csv`."""

import csv
import functools
from collections.abc import Collection
from pathlib import Path

from pages.markdown import number

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


def published_difference(task: str, method: str, other: str, setting: str = "") -> tuple[float, str] | None:
    """The published difference of the mean returns of two methods, and its source: one that has both, tables first."""
    found: dict[str, dict[str, float]] = {}
    for row in sorted(_rows(), key=lambda row: "read off" in row["source"]):
        if (row["task"], row["setting"]) == (task, setting):
            found.setdefault(row["source"], {})[row["method"]] = float(row["mean"])
    both = ((means, source) for source, means in found.items() if {method, other} <= set(means))
    return next(((means[method] - means[other], source) for means, source in both), None)


def _deviation(std: str) -> str:
    return f" +- {number(float(std))}" if std else ""
