"""Faults that hit a process: signals, a full disk, a second process, a folder that is moved away."""

import itertools
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

import disturbed
from rpo_jax import SettingsError
from rpo_jax.runs import launch, resume
from rpo_jax.runs.folder import METRICS_TABLE, SETTINGS
from rpo_jax.runs.summary import is_finished

RESULT_FILES = (METRICS_TABLE, "policies.npz", "evaluations.csv", "best.npz")
Outcome = dict[str, Any]
Outcomes: TypeAlias = Generator[Outcome, None, None]  # without end


class Process:
    """A disturbed run on its way."""

    def __init__(
        self, path: Path, env: str = disturbed.PENDULUM, variables: Mapping[str, str] | None = None, number: int = 1
    ):
        """Begins it.

        Args:
            path: the folder of the run.
            env: name of the environment.
            variables: added to those of this process.
            number: which of the processes that use this folder.
        """
        self._output = path.with_suffix(f".output{number}")
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, disturbed.__file__, path, env],
            env={**os.environ, **(variables or {})},
            stdout=self._output.open("w"),
            stderr=subprocess.PIPE,
        )

    def wait(self, inject: Callable[[], Any] | None = None, when: Callable[[], bool] = lambda: True) -> bool:
        """Waits for its end, and does something as soon as it is time; whether it was still there then."""
        while inject and not when() and self._process.poll() is None:
            time.sleep(0.001)
        alive = self._process.poll() is None
        if inject and alive:
            inject()
        self.complaint = self._process.communicate()[1].decode()
        return alive

    def lasts(self, seconds: float) -> Callable[[], bool]:
        """What tells whether it began so long ago."""
        return lambda: time.monotonic() - self._began >= seconds

    def says(self, word: str) -> Callable[[], bool]:
        """What tells whether it has printed something."""
        return lambda: word in self._output.read_text()

    def send(self, number: int) -> Callable[[], None]:
        """What sends it a signal."""
        return lambda: self._process.send_signal(number)

    @property
    def updates(self) -> int:
        """Updates that it says it has done."""
        lines = [line for line in self._output.read_text().split() if line.isdigit()]
        return int(lines[-1]) if lines else 0


class Whole:
    """An undisturbed run: what a disturbed one is compared with."""

    def __init__(self, scratch: Path, env: str = disturbed.PENDULUM):
        """Trains it.

        Args:
            scratch: where its folder is made.
            env: name of the environment.
        """
        self.path = scratch / "whole" / "run"
        self.path.parent.mkdir()
        for _ in range(2):  # the second finds its program compiled
            shutil.rmtree(self.path, ignore_errors=True)
            began = time.monotonic()
            Process(self.path, env).wait()
            self.seconds = time.monotonic() - began

    def moment(self) -> float:
        """A random number of seconds, between start and end."""
        return random.uniform(0.2, 1.0) * self.seconds

    def equals(self, path: Path) -> bool:
        """Whether a folder is finished and holds the same results, bit for bit."""
        same = all(content(path / name) == content(self.path / name) for name in RESULT_FILES)
        return same and is_finished(path)

    def begins(self, path: Path, updates: int) -> bool:
        """Whether a folder is finished and holds the same metrics of so many updates, bit for bit."""
        ours, theirs = (_rows(folder / METRICS_TABLE, updates) for folder in (path, self.path))
        return ours == theirs and is_finished(path)


def content(path: Path) -> Any:
    """The content of a result file, but for the times at which it was written."""
    if path.suffix == ".csv":
        return path.read_bytes()
    with np.load(path) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def _rows(table: Path, updates: int) -> list[str]:
    header, *rows = table.read_text().splitlines()
    column = header.split(",").index("update")
    return [row for row in rows if int(row.split(",")[column]) <= updates]


def go_on(path: Path, env: str = disturbed.PENDULUM) -> int:
    """Resumes a run, or begins it where it had not begun; the update it goes on from, the last if it is finished."""
    if not (path / SETTINGS).exists():
        launch.run_to_folder(disturbed.spec(env), path, disturbed.SILENT)
        return 0
    if not (specs := resume.unfinished(path)):
        return disturbed.spec(env).config.num_updates
    (summary,) = resume.resume(specs, path, disturbed.SILENT)
    return summary["resumed_from"]


def places(scratch: Path) -> Iterator[Path]:
    """Folders that do not exist yet, each removed before the next."""
    for index in itertools.count():
        path = scratch / str(index) / "run"
        path.parent.mkdir()
        yield path
        shutil.rmtree(path.parent)


def signalled(number: int, scratch: Path) -> Outcomes:
    """Runs that get a signal at a random moment between start and end."""
    whole = Whole(scratch)
    for path in places(scratch):
        process = Process(path)
        alive = process.wait(process.send(number), process.lasts(whole.moment()))
        if alive and not is_finished(path):
            lost = process.updates - go_on(path)
            yield {"survived": whole.equals(path), "lost": max(lost, 0)}


def full_disk(lasts: tuple[float, float] | None, scratch: Path) -> Outcomes:
    """Runs on a disk that something else fills at a random moment, up to a random number of bytes.

    Args:
        lasts: shortest and longest time after which the disk is free again, in seconds; until the end if None.
        scratch: an empty folder.
    """
    whole = Whole(scratch)
    disk = scratch / "disk"
    disk.mkdir()
    needed = sum(file.stat().st_size for file in whole.path.rglob("*") if file.is_file())
    while True:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=True)
        try:
            path, filling = disk / "run", disk / "filling"

            def fill(filling: Path = filling) -> None:
                filling.write_bytes(bytes(max(shutil.disk_usage(disk).free - random.randrange(needed), 0)))
                if lasts is not None:
                    threading.Timer(random.uniform(*lasts), partial(filling.unlink, missing_ok=True)).start()

            process = Process(path)
            hit = process.wait(fill, process.lasts(whole.moment()))
            if not is_finished(path):
                filling.unlink(missing_ok=True)
                told = "No space left" in process.complaint or "on disk" in process.complaint
                lost = process.updates - go_on(path)
                yield {"survived": told and whole.equals(path), "lost": max(lost, 0)}
            elif hit and lasts is not None:
                yield {"survived": whole.equals(path), "lost": 0}
        finally:
            subprocess.run(["umount", disk], check=True)


def raced(scratch: Path) -> Outcomes:
    """Two processes that train into one folder; the second begins at a random moment of the first."""
    whole = Whole(scratch)
    for path in places(scratch):
        first = Process(path)
        time.sleep(random.uniform(0.0, 1.2) * whole.seconds)
        second = Process(path, number=2)
        for process in (first, second):
            process.wait()
        refused = sum("is in use by" in x.complaint or "already holds a run" in x.complaint for x in (first, second))
        yield {"survived": refused == 1 and whole.equals(path), "lost": 0}


def resumed_beside(scratch: Path) -> Outcomes:
    """Runs that another process resumes while they are trained."""
    whole = Whole(scratch)
    for path in places(scratch):
        process, refusals = Process(path), []

        def resume_too(path: Path = path, refusals: list[str] = refusals) -> None:
            try:
                refusals.append("is finished" if go_on(path) == disturbed.spec().config.num_updates else "")
            except SettingsError as error:
                refusals.append(str(error))

        began = process.lasts(whole.moment())
        if process.wait(resume_too, lambda path=path, began=began: began() and (path / SETTINGS).exists()):
            refused = "is in use by" in str(refusals) or "is finished" in str(refusals)
            yield {"survived": refused and whole.equals(path), "lost": 0}


def moved(scratch: Path) -> Outcomes:
    """Runs whose folder is moved away or removed while they are trained."""
    whole = Whole(scratch)
    for path in places(scratch):
        process, away = Process(path), path.with_name("away")

        def move(path: Path = path, away: Path = away) -> None:
            path.rename(away)
            if random.random() < 0.5:
                shutil.rmtree(away)

        began = process.lasts(whole.moment())
        if process.wait(move, lambda path=path, began=began: began() and (path / SETTINGS).exists()):
            if "was moved or removed" in process.complaint:
                yield {"survived": whole.equals(path), "lost": 0}
            elif "holds no run" in process.complaint:  # it had not begun to train
                yield {"survived": not process.updates, "lost": 0}
            else:  # it had written all before
                yield {"survived": not away.exists() or whole.equals(away), "lost": 0}
