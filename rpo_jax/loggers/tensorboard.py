"""Event files for TensorBoard: one curve per seed, and mean, min and max over the seeds of each setting.

`tensorboard --logdir RUN` then overlays the folders RUN/tensorboard/rpo_alpha=0.1/seed=0, .../seed=1, .../mean, .../min
and .../max; its filter `mean` leaves one curve per setting.
"""

import math
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

from rpo_jax.loggers.points import Point, mean_of_known
from rpo_jax.loggers.tags import tagged
from rpo_jax.settings.spec import RunSpec, setting_labels

FOLDER = "tensorboard"
OVER_SEEDS = {"mean": mean_of_known, "min": np.fmin.reduce, "max": np.fmax.reduce}

Curve = tuple[Path, dict[str, float]]


class TensorBoard:
    """Appends an event to a file of each curve, and closes it again.

    tensorboardX's own writer keeps a file, a queue and two threads open for each curve, which hundreds cannot have; it
    gives the format here.
    """

    def __init__(self, spec: RunSpec, folder: Path):
        self._spec = spec
        self._folders = [(folder / FOLDER).joinpath(*filter(None, label.split(", "))) for label in setting_labels(spec)]
        self._file = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"

    def begin(self, point: Point) -> None:
        """Begins a file of each curve; readers then pass over what earlier ones have of this point's steps and later.

        The event that says a session starts makes them do so. TensorBoard's fast loader knows none: it passes over
        what earlier files have of the first new point's step and later.
        """
        step = point.first * point.round_timesteps
        version = Event(wall_time=time.time(), file_version="brain.Event:2")
        start = Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START))
        for folder, _ in self._curves(point):
            folder.mkdir(parents=True, exist_ok=True)
            self._append(folder, version, start)

    def write(self, point: Point) -> None:
        """Appends a point to every curve."""
        now = time.time()
        for folder, values in self._curves(point):
            known = [Summary.Value(tag=tag, simple_value=x) for tag, x in values.items() if not math.isnan(x)]
            self._append(folder, Event(wall_time=now, step=point.step, summary=Summary(value=known)))

    def close(self) -> None:
        """Nothing is left to do."""

    def _append(self, folder: Path, *events: Any) -> None:
        with (folder / self._file).open("ab") as file:
            file.write(b"".join(map(_record, events)))

    def _curves(self, point: Point) -> Iterator[Curve]:
        """Folder and values {tag: value} of each curve."""
        metrics = tagged(point.metrics, self._spec)
        curves = {
            f"seed={seed}": {tag: x[:, index] for tag, x in metrics.items()}
            for index, seed in enumerate(self._spec.seeds)
        }
        if len(self._spec.seeds) > 1:
            curves |= {name: {tag: over(x, axis=1) for tag, x in metrics.items()} for name, over in OVER_SEEDS.items()}
        for name, of_settings in curves.items():
            for setting, folder in enumerate(self._folders):
                yield folder / name, {tag: float(x[setting]) for tag, x in of_settings.items()}


def _record(event: Any) -> bytes:
    """An event as a record of the file: its length and itself, each with a checksum."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc32c(length)) + content + struct.pack("<I", masked_crc32c(content))
