"""Event files for TensorBoard: one curve per seed, and the mean, min and max over the seeds of each setting.

`tensorboard --logdir RUN` overlays the folders RUN/tensorboard/rpo_alpha=0.1/seed=0, .../seed=1, .../mean, .../min and
.../max; filter by `mean` to see one curve per setting.
"""

import math
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import masked_crc32c

from rpo_jax.files import check_no_link
from rpo_jax.loggers.points import Point, mean_of_known
from rpo_jax.loggers.tags import tag_metrics
from rpo_jax.settings.spec import RunSpec, setting_labels

FOLDER = "tensorboard"
REDUCTIONS = {"mean": mean_of_known, "min": np.fmin.reduce, "max": np.fmax.reduce}  # over the seeds of a setting

Curve: TypeAlias = tuple[Path, dict[str, float]]


class TensorBoard:
    """A `Sink` that appends an event to the event file of each curve, and closes the file again.

    The writer of tensorboardX keeps a file, a queue and two threads open for each curve, too much for hundreds of them.
    Only its serialisation is used here.
    """

    def __init__(self, spec: RunSpec, folder: Path):
        """Creates the sink.

        Args:
            spec: what is trained.
            folder: folder of the run.
        """
        self._spec, self._root = spec, folder / FOLDER
        self._folders = [self._root.joinpath(*filter(None, label.split(", "))) for label in setting_labels(spec)]
        self._file = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"

    def begin(self, point: Point) -> None:
        """Begins an event file for each curve, from which on readers ignore earlier events of the same or later steps.

        The event that marks the start of a session tells them to. TensorBoard's fast loader does not know this event;
        it ignores events of earlier files from the step of the first new point on.

        Args:
            point: the first point.
        """
        step = point.first * point.round_timesteps
        version = Event(wall_time=time.time(), file_version="brain.Event:2")
        start = Event(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START))
        for folder, _ in self._curves(point):
            for path in (self._root, *(path for path in folder.parents if self._root in path.parents), folder):
                check_no_link(path)
            folder.mkdir(parents=True, exist_ok=True)
            self._append(folder, version, start)

    def write(self, point: Point) -> None:
        """Appends a point to every curve.

        Args:
            point: the point after the previous one.
        """
        now = time.time()
        for folder, values in self._curves(point):
            known = [Summary.Value(tag=tag, simple_value=x) for tag, x in values.items() if not math.isnan(x)]
            self._append(folder, Event(wall_time=now, step=point.step, summary=Summary(value=known)))

    def close(self) -> None:
        """Does nothing: every point is on disk already."""

    def _append(self, folder: Path, *events: Event) -> None:
        with (folder / self._file).open("ab") as file:
            file.write(b"".join(map(_record, events)))

    def _curves(self, point: Point) -> Iterator[Curve]:
        """Yields the folder and the values {tag: value} of each curve."""
        metrics = tag_metrics(point.metrics, self._spec)
        curves = {
            f"seed={seed}": {tag: x[:, index] for tag, x in metrics.items()}
            for index, seed in enumerate(self._spec.seeds)
        }
        if len(self._spec.seeds) > 1:
            curves |= {
                name: {tag: reduce(x, axis=1) for tag, x in metrics.items()} for name, reduce in REDUCTIONS.items()
            }
        for name, values in curves.items():
            for setting, folder in enumerate(self._folders):
                yield folder / name, {tag: float(x[setting]) for tag, x in values.items()}


def _record(event: Event) -> bytes:
    """Serialises an event as a record of an event file: its length and its content, each with a checksum."""
    content = event.SerializeToString()
    length = struct.pack("<Q", len(content))
    return length + struct.pack("<I", masked_crc32c(length)) + content + struct.pack("<I", masked_crc32c(content))
