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


def _deviation(std: str) -> str:
    return f" +- {number(float(std))}" if std else ""
