"""Points of curves, made of what a fit reports."""

import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from rpo_jax.execution.fit import Progress

EVALUATED = "evaluated_return"  # beside the metrics: of an evaluation, the mean over its episodes
SECONDS = 1.0  # between two points at first
RESOLUTION = 500  # later they are this part of the time trained so far apart: some 2500 points in a day
SHARE = 0.02  # of the time that writing may take


class Point(NamedTuple):
    """Means over the updates since the point before.

    Attributes:
        first: the first of these updates, counted from 1.
        last: the last of them.
        round_timesteps: environment steps of an update.
        metrics: {name: [H, S]}, `EVALUATED` among them; NaN where none of these updates has a value.
    """

    first: int
    last: int
    round_timesteps: int
    metrics: dict[str, np.ndarray]

    @property
    def step(self) -> int:
        """Environment steps of a run after the last update."""
        return self.last * self.round_timesteps


class Sink(Protocol):
    """Where points go."""

    def begin(self, point: Point) -> None:
        """Makes ready for the first point. What is there of its updates and later ones is removed.

        A run that died wrote that after the checkpoint from which it goes on.
        """
        ...

    def write(self, point: Point) -> None:
        """Writes a point."""
        ...

    def close(self) -> None:
        """Writes what is not yet."""
        ...


class Logger:
    """Gives the points of a fit to a sink. What fails there is told once, and training goes on without it."""

    def __init__(self, name: str, sink: Sink, round_timesteps: int, seconds: float = SECONDS):
        self._name, self._round_timesteps, self._seconds = name, round_timesteps, seconds
        self._sink: Sink | None = sink
        self._reports: list[dict[str, np.ndarray]] = []
        self._updates, self._trained, self._begun = 0, 0.0, False
        self._next = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Takes a report, and writes a point if it is time for one; an evaluation has one at its own update."""
        if self._sink is None:
            return
        self._reports.append(progress.metrics | {EVALUATED: _evaluated(progress)})
        self._updates, self._trained = progress.updates, progress.seconds
        if progress.returns is not None or time.monotonic() >= self._next:
            self._write(self._sink)

    def close(self) -> None:
        """Writes the last point, and all that is not on the disk yet."""
        if self._sink is not None and self._reports:
            self._write(self._sink)
        if self._sink is not None:
            self._attempt(self._sink.close)
        self._sink = None

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _write(self, sink: Sink) -> None:
        if not self._begun:
            self._begun = True
            self._attempt(sink.begin, self._point())
        began = time.monotonic()
        if self._sink:
            self._attempt(sink.write, self._point())
        self._reports = []
        now = time.monotonic()
        self._next = now + max(self._seconds, self._trained / RESOLUTION, (now - began) / SHARE)

    def _point(self) -> Point:
        rows = {name: np.concatenate([report[name] for report in self._reports], axis=-1) for name in self._reports[0]}
        count = next(iter(rows.values())).shape[-1]
        metrics = {name: mean_of_known(values, axis=-1) for name, values in rows.items()}
        return Point(self._updates - count + 1, self._updates, self._round_timesteps, metrics)

    def _attempt(self, action: Callable[..., None], *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:  # disks, networks and packages have many
            self._sink = None
            told = " ".join(str(error).split())[:300]
            logging.getLogger("rpo_jax").warning(
                f"logger {self._name} failed, training goes on without it: {type(error).__name__}: {told}"
            )


def _evaluated(progress: Progress) -> np.ndarray:
    """[H, S, rows], NaN but where an evaluation follows the last row."""
    rows = np.full_like(progress.metrics["entropy"], np.nan)
    if progress.returns is not None:
        rows[..., -1] = progress.returns.mean(-1)
    return rows


def mean_of_known(values: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what is not NaN along an axis; NaN where all is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):  # 0 / 0, and infinities of both signs
        return np.where(known, values, 0.0).sum(axis, dtype=np.float64) / known.sum(axis)
