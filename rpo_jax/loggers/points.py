"""The points of training curves, computed from the progress that a fit reports."""

import logging
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import NamedTuple, Protocol

import numpy as np

from rpo_jax.errors import described
from rpo_jax.execution.fit import Progress

EVALUATED = "evaluated_return"  # a metric beside those of training: the mean return of an evaluation
SECONDS = 1.0  # between two points at first
RESOLUTION = 500  # points are at least 1/500 of the training time so far apart: about 2500 points in a day
SHARE = 0.02  # most of the time that writing may take


class Point(NamedTuple):
    """A point of every curve: means over the updates since the previous point.

    Attributes:
        first: number of the first of these updates, counted from 1.
        last: number of the last of these updates.
        round_timesteps: environment steps of one run in an update.
        metrics: {name: [H, S]}, including `EVALUATED`; NaN where none of these updates has a value.
    """

    first: int
    last: int
    round_timesteps: int
    metrics: dict[str, np.ndarray]

    @property
    def step(self) -> int:
        """Environment steps of one run up to the last of these updates."""
        return self.last * self.round_timesteps


class Sink(Protocol):
    """The destination of the points of a logger, constructed from a `RunSpec` and the folder of the run."""

    def begin(self, point: Point) -> None:
        """Prepares for the first point, and removes existing points of its updates and later ones.

        Those were written after the checkpoint from which an interrupted run is resumed.

        Args:
            point: the first point, which is passed to `write` next.
        """
        ...

    def write(self, point: Point) -> None:
        """Writes a point.

        Args:
            point: the point after the previous one.
        """
        ...

    def close(self) -> None:
        """Writes what is still buffered."""
        ...


class Logger:
    """Writes the points of a fit to a sink. If the sink fails, it warns once and training continues without it."""

    def __init__(self, name: str, sink: Sink, round_timesteps: int, seconds: float = SECONDS):
        """Creates a logger; `make_logger` does it by name.

        Args:
            name: name of the logger in warnings.
            sink: destination of the points.
            round_timesteps: environment steps of one run in an update.
            seconds: least number of seconds between two points.
        """
        self._name, self._round_timesteps, self._seconds = name, round_timesteps, seconds
        self._sink: Sink | None = sink
        self._reports: list[dict[str, np.ndarray]] = []
        self._updates, self._trained, self._begun = 0, 0.0, False
        self._next = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Takes the progress of a fit, and writes a point if it is due, or if the policies were just evaluated.

        Args:
            progress: what `fit` passes to `on_progress`.
        """
        if self._sink is None:
            return
        self._reports.append(progress.metrics | {EVALUATED: _evaluated_returns(progress)})
        self._updates, self._trained = progress.updates, progress.seconds
        if progress.returns is not None or time.monotonic() >= self._next:
            self._write(self._sink)

    def close(self) -> None:
        """Writes the last point, and closes the sink."""
        if self._sink is not None and self._reports:
            self._write(self._sink)
        if self._sink is not None:
            self._attempt(self._sink.close)
        self._sink = None

    def __enter__(self) -> "Logger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, sink: Sink) -> None:
        if not self._begun:
            self._begun = True
            self._attempt(partial(sink.begin, self._point()))
        began = time.monotonic()
        if self._sink:
            self._attempt(partial(sink.write, self._point()))
        self._reports = []
        now = time.monotonic()
        self._next = now + max(self._seconds, self._trained / RESOLUTION, (now - began) / SHARE)

    def _point(self) -> Point:
        rows = {name: np.concatenate([report[name] for report in self._reports], axis=-1) for name in self._reports[0]}
        count = next(iter(rows.values())).shape[-1]
        metrics = {name: mean_of_known(values, axis=-1) for name, values in rows.items()}
        return Point(self._updates - count + 1, self._updates, self._round_timesteps, metrics)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Calls a method of the sink; if it fails, warns and drops the sink."""
        try:
            action()
        except Exception as error:  # disks, networks and packages raise all kinds of errors
            self._sink = None
            logging.getLogger("rpo_jax").warning(
                f"logger {self._name} failed, training continues without it: {described(error)}"
            )


def _evaluated_returns(progress: Progress) -> np.ndarray:
    """Mean returns of the evaluation after the last update [H, S, updates]; NaN at the others."""
    rows = np.full_like(progress.metrics["entropy"], np.nan)
    if progress.returns is not None:
        rows[..., -1] = progress.returns.mean(-1)
    return rows


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """Averages along an axis without the NaNs.

    Args:
        values: numbers of any shape.
        axis: axis to average over.

    Returns:
        The means, without that axis; NaN where all values are NaN.
    """
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # 0 / 0, and infinities of both signs
        return np.where(known, values, 0.0).sum(axis, dtype=np.float64) / known.sum(axis)
