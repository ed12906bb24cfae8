"""Tables that are appended to during training, so that a run that crashes leaves its rows.

There is a row for each setting, seed and point. The columns are those of metrics.csv and `evaluated_return`, but a row
is the mean over the updates since the previous row.
"""

import csv
import io
import math
import re
from pathlib import Path

import numpy as np

from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.files import atomic_write, check_no_link
from rpo_jax.loggers.points import EVALUATED, Point
from rpo_jax.settings.spec import RunSpec

COLUMNS = ["setting", "seed", "update", "step", *METRICS, EVALUATED]


class CSV:
    """A `Sink` that appends to log.csv, to be read by `pandas.read_csv`."""

    def __init__(self, spec: RunSpec, folder: Path):
        """Creates the sink.

        Args:
            spec: what is trained.
            folder: folder of the run.
        """
        self._seeds, self._path = spec.seeds, folder / "log.csv"

    def begin(self, point: Point) -> None:
        """Writes the header, and keeps the existing rows of earlier updates.

        Args:
            point: the first point.
        """
        with atomic_write(self._path) as part, part.open("w", newline="") as new:
            csv.writer(new).writerow(COLUMNS)
            if self._path.exists():
                with self._path.open(newline="") as old:
                    if (header := old.readline()) and not header.startswith(",".join(COLUMNS[:4])):
                        raise ValueError(f"{self._path} holds something else, and would be overwritten")
                    complete = (line for line in old if line.endswith("\n") and line[0].isdigit())
                    new.writelines(line for line in complete if int(line.split(",")[2]) < point.first)

    def write(self, point: Point) -> None:
        """Appends the rows of a point.

        Args:
            point: the point after the previous one.
        """
        columns = _columns(point, self._seeds)
        rows = zip(*(columns[name].tolist() for name in COLUMNS), strict=True)
        text = io.StringIO()
        csv.writer(text).writerows(map(_format_row, rows))
        check_no_link(self._path)
        with self._path.open("a", newline="") as file:
            file.write(text.getvalue())

    def close(self) -> None:
        """Does nothing: every point is on disk already."""


class Parquet:
    """A `Sink` that adds a file per point to the folder log.parquet, read as one by `pandas.read_parquet`."""

    def __init__(self, spec: RunSpec, folder: Path):
        """Creates the sink.

        Args:
            spec: what is trained.
            folder: folder of the run.
        """
        self._seeds, self._folder = spec.seeds, folder / "log.parquet"

    def begin(self, point: Point) -> None:
        """Creates the folder, and removes existing files of the updates of the point and later ones.

        Args:
            point: the first point.
        """
        check_no_link(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*.parquet"):
            if re.fullmatch(r"\d{10}", path.stem) and int(path.stem) >= point.first:
                path.unlink()

    def write(self, point: Point) -> None:
        """Adds the file of a point.

        Args:
            point: the point after the previous one.
        """
        import pyarrow
        from pyarrow import parquet

        with atomic_write(self._folder / f"{point.last:010d}.parquet") as path:
            parquet.write_table(pyarrow.table(_columns(point, self._seeds)), path)

    def close(self) -> None:
        """Does nothing: every point is on disk already."""


def _columns(point: Point, seeds: list[int]) -> dict[str, np.ndarray]:
    """The columns [H * S] of a point, with a row for each run."""
    settings, seed = np.meshgrid(np.arange(len(point.metrics["entropy"])), seeds, indexing="ij")
    constant = {"update": point.last, "step": point.step}
    return {
        "setting": settings.ravel(),
        "seed": seed.ravel(),
        **{name: np.full(settings.size, value) for name, value in constant.items()},
        **{name: point.metrics[name].ravel() for name in (*METRICS, EVALUATED)},
    }


def _format_row(row: tuple[float, ...]) -> list[str]:
    return [str(x) if isinstance(x, int) else "" if math.isnan(x) else f"{x:.7g}" for x in row]
