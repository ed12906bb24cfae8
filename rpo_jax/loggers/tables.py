"""Tables that grow while a run trains, so that one that dies leaves its rows: one per setting, seed and point.

Their columns are those of metrics.csv, and `evaluated_return`, but a row is the mean of the updates since the row
before.
"""

import csv
import io
import math
from pathlib import Path

import numpy as np

from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.files import written_whole
from rpo_jax.loggers.points import EVALUATED, Point
from rpo_jax.settings.spec import RunSpec

COLUMNS = ["setting", "seed", "update", "step", *METRICS, EVALUATED]


class CSV:
    """Appends to log.csv: `pandas.read_csv`."""

    def __init__(self, spec: RunSpec, folder: Path):
        self._seeds, self._path = spec.seeds, folder / "log.csv"

    def begin(self, point: Point) -> None:
        """Writes the header, and the rows that are there of updates before the point's."""
        with written_whole(self._path) as part, part.open("w", newline="") as new:
            csv.writer(new).writerow(COLUMNS)
            if self._path.exists():
                with self._path.open(newline="") as old:
                    whole = (line for line in old if line.endswith("\n") and line[0].isdigit())
                    new.writelines(line for line in whole if int(line.split(",")[2]) < point.first)

    def write(self, point: Point) -> None:
        """Appends the rows of a point."""
        columns = _columns(point, self._seeds)
        rows = zip(*(columns[name].tolist() for name in COLUMNS), strict=True)
        text = io.StringIO()
        csv.writer(text).writerows(map(_texts, rows))
        with self._path.open("a", newline="") as file:
            file.write(text.getvalue())

    def close(self) -> None:
        """Nothing is left to do."""


class Parquet:
    """Adds a file to the folder log.parquet: `pandas.read_parquet` reads them as one."""

    def __init__(self, spec: RunSpec, folder: Path):
        self._seeds, self._folder = spec.seeds, folder / "log.parquet"

    def begin(self, point: Point) -> None:
        """Makes the folder, and removes the files that are there of the point's updates and later ones."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob("*.parquet"):
            if int(path.stem) >= point.first:
                path.unlink()

    def write(self, point: Point) -> None:
        """Adds the file of a point."""
        import pyarrow
        from pyarrow import parquet

        with written_whole(self._folder / f"{point.last:010d}.parquet") as path:
            parquet.write_table(pyarrow.table(_columns(point, self._seeds)), path)

    def close(self) -> None:
        """Nothing is left to do."""


def _columns(point: Point, seeds: list[int]) -> dict[str, np.ndarray]:
    """A row [H * S] for each run."""
    settings, seed = np.meshgrid(np.arange(len(point.metrics["entropy"])), seeds, indexing="ij")
    of_all = {"update": point.last, "step": point.step}
    return {
        "setting": settings.ravel(),
        "seed": seed.ravel(),
        **{name: np.full(settings.size, value) for name, value in of_all.items()},
        **{name: point.metrics[name].ravel() for name in (*METRICS, EVALUATED)},
    }


def _texts(row: tuple[float, ...]) -> list[str]:
    return [str(x) if isinstance(x, int) else "" if math.isnan(x) else f"{x:.7g}" for x in row]
