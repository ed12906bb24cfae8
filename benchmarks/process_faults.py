"""Faults that hit a process or its files: signals, a full disk, damaged files."""

import itertools
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import disturbed
from rpo_jax import SettingsError
from rpo_jax.execution import checkpoints
from rpo_jax.runs import launch, resume
from rpo_jax.runs.folder import SETTINGS
from rpo_jax.runs.summary import is_finished

RESULT_FILES = ("metrics.csv", "policies.npz", "evaluations.csv", "best.npz")


class Process:
    """A disturbed run on its way."""

    def __init__(self, path: Path):
        self._output = path.parent / "output"
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, disturbed.__file__, str(path)], stdout=self._output.open("w"), stderr=subprocess.PIPE
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

    def send(self, number: int) -> Callable[[], None]:
        """What sends it a signal."""
        return lambda: self._process.send_signal(number)

    @property
    def updates(self) -> int:
        """Updates that it says it has done."""
        lines = self._output.read_text().split()
        return int(lines[-1]) if lines else 0


class Whole:
    """An undisturbed run: what a disturbed one is compared with."""

    def __init__(self, scratch: Path):
        self.path = scratch / "whole" / "run"
        self.path.parent.mkdir()
        for _ in range(2):  # the second finds its program compiled
            shutil.rmtree(self.path, ignore_errors=True)
            began = time.monotonic()
            Process(self.path).wait()
            self.seconds = time.monotonic() - began

    def equals(self, path: Path) -> bool:
        """Whether a folder is finished and holds the same results, bit for bit."""
        same = all(_content(path / name) == _content(self.path / name) for name in RESULT_FILES)
        return same and is_finished(path)


def _content(path: Path) -> Any:
    if path.suffix == ".csv":
        return path.read_bytes()
    with np.load(path) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def go_on(path: Path) -> int:
    """Resumes a run, or begins it where it had not begun; the update it goes on from."""
    if not (path / SETTINGS).exists():
        launch.run_to_folder(disturbed.spec(), path, disturbed.SILENT)
        return 0
    (summary,) = resume.resume(resume.unfinished(path), path, disturbed.SILENT)
    return summary["resumed_from"]


def signalled(number: int, count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Runs that get a signal at a random moment between start and end."""
    whole = Whole(scratch)
    for index in itertools.count():
        path = scratch / str(index) / "run"
        path.parent.mkdir()
        process = Process(path)
        alive = process.wait(process.send(number), process.lasts(random.uniform(0.2, 1.0) * whole.seconds))
        if alive and not is_finished(path):
            lost = process.updates - go_on(path)
            yield {"survived": whole.equals(path), "lost": max(lost, 0)}
            count -= 1
        shutil.rmtree(path.parent)
        if not count:
            return


def full_disk(count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Runs on a disk that something else fills at a random moment, up to a random number of bytes."""
    whole = Whole(scratch)
    disk = scratch / "disk"
    disk.mkdir()
    needed = sum(file.stat().st_size for file in whole.path.rglob("*") if file.is_file())
    while count:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=True)
        try:
            path, filling = disk / "run", disk / "filling"

            def fill(filling: Path = filling) -> None:
                filling.write_bytes(bytes(max(shutil.disk_usage(disk).free - random.randrange(needed), 0)))

            process = Process(path)
            process.wait(fill, process.lasts(random.uniform(0.2, 1.0) * whole.seconds))
            if not is_finished(path):
                filling.unlink()
                told = "No space left" in process.complaint or "on disk" in process.complaint
                lost = process.updates - go_on(path)
                yield {"survived": told and whole.equals(path), "lost": max(lost, 0)}
                count -= 1
        finally:
            subprocess.run(["umount", disk], check=True)


def damaged(damage: Callable[[bytearray], bytes], count: int, scratch: Path) -> Iterator[dict[str, Any]]:
    """Runs that were stopped, with damage in a random file of their folder."""
    whole = Whole(scratch)
    stopped = scratch / "stopped" / "run"
    stopped.parent.mkdir()
    process = Process(stopped)
    process.wait(process.send(signal.SIGTERM), lambda: process.updates >= disturbed.spec().config.num_updates / 2)
    if len(list((stopped / checkpoints.FOLDER).iterdir())) < 2 or is_finished(stopped):
        raise SystemExit("the run had too few checkpoints, or was at its end: try again on a quieter machine")
    for index in range(count):
        path = scratch / str(index) / "run"
        shutil.copytree(stopped, path)
        files = [file for file in path.rglob("*") if file.is_file() and file.stat().st_size]
        file = random.choice(files)
        file.write_bytes(damage(bytearray(file.read_bytes())))
        outcome = "other results"
        try:
            lost = process.updates - go_on(path)
            outcome = "the same results" if whole.equals(path) else outcome
        except SettingsError:
            outcome, lost = "a clear error", 0
        name = str(file.relative_to(path))
        yield {"survived": outcome != "other results", "outcome": outcome, "file": name, "lost": max(lost, 0)}
        shutil.rmtree(path.parent)


def cut(content: bytearray) -> bytes:
    """The beginning of it."""
    return bytes(content[: random.randrange(len(content))])


def flip(content: bytearray) -> bytes:
    """With one bit flipped."""
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(content)
