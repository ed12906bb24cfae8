"""Faults that hit a folder: damage, links to elsewhere, and content that is signed and wrong."""

import contextlib
import io
import itertools
import json
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import disturbed
from process_faults import RESULT_FILES, Outcome, Outcomes, Process, Whole, go_on
from rpo_jax import SettingsError
from rpo_jax.cli.main import main
from rpo_jax.execution.checkpoints import FOLDER
from rpo_jax.runs.summary import is_finished
from tampering import OTHERS, changed, commands, places_in, put, remove, sign

PRECIOUS = "precious"


class Stopped:
    """A run that was stopped half-way, and how many updates it had done."""

    def __init__(self, scratch: Path):
        """Trains it.

        Args:
            scratch: where its folder is made.
        """
        self._scratch, self.path = scratch, scratch / "stopped" / "run"
        self.path.parent.mkdir()
        process = Process(self.path)
        process.wait(process.send(signal.SIGTERM), lambda: process.updates >= disturbed.spec().config.num_updates / 2)
        if len(list((self.path / FOLDER).iterdir())) < 2 or is_finished(self.path):
            raise SystemExit("the run had too few checkpoints, or was at its end: try again on a quieter machine")
        self.updates = process.updates

    def copies(self) -> Iterator[Path]:
        """Copies of its folder, each removed before the next."""
        for index in itertools.count():
            path = shutil.copytree(self.path, self._scratch / str(index) / "run")
            yield path
            shutil.rmtree(path.parent)

    def outcome(self, path: Path, whole: Whole) -> Outcome:
        """What becomes of a copy that is resumed."""
        outcome, lost = "other results", 0
        try:
            lost = self.updates - go_on(path)
            outcome = "the same results" if whole.equals(path) else outcome
        except SettingsError:
            outcome = "a clear error"
        return {"survived": outcome != "other results", "outcome": outcome, "lost": max(lost, 0)}


# Damage


def damaged(damage: Callable[[bytearray], bytes], scratch: Path) -> Outcomes:
    """Runs that were stopped, with damage in a random file of their folder."""
    whole, stopped = Whole(scratch), Stopped(scratch)
    for path in stopped.copies():
        file = random.choice([file for file in path.rglob("*") if file.is_file() and file.stat().st_size])
        file.write_bytes(damage(bytearray(file.read_bytes())))
        yield {"file": str(file.relative_to(path)), **stopped.outcome(path, whole)}


def cut(content: bytearray) -> bytes:
    """The beginning of it."""
    return bytes(content[: random.randrange(len(content))])


def flip(content: bytearray) -> bytes:
    """With one bit flipped."""
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(content)


# Links


def linked(scratch: Path) -> Outcomes:
    """Runs that were stopped, with a link to someone else's file or folder in place of a file of theirs."""
    whole, stopped = Whole(scratch), Stopped(scratch)
    names = [
        ".lock",
        FOLDER,
        f"{FOLDER}/7",
        *RESULT_FILES,
        "summary.json",
        "settings.json",
        "curves.png",
    ]
    for path in stopped.copies():
        foreign = path.parent / "foreign"
        for name in ("7/file", "8.orbax-checkpoint-tmp-1/file", "file"):
            (foreign / name).parent.mkdir(parents=True, exist_ok=True)
            (foreign / name).write_text(PRECIOUS)
        link = path / random.choice(names)
        if link.is_dir():
            shutil.rmtree(link)
        link.unlink(missing_ok=True)
        link.symlink_to(foreign / random.choice(["7", "file", "."]))
        outcome = stopped.outcome(path, whole)
        kept = [file.read_text() for file in foreign.rglob("*") if file.is_file()] == [PRECIOUS] * 3
        yield {**outcome, "survived": outcome["survived"] and kept, "file": str(link.relative_to(path))}


# Signed content


def wrong(scratch: Path) -> Outcomes:
    """Runs that were stopped, with a digest that is right over settings or a summary that are not."""
    stopped = Stopped(scratch)
    for path in stopped.copies():
        file = path / random.choice(["settings.json", "summary.json"])
        content = json.loads(file.read_text())
        place, change = random.choice([*places_in(content)]), random.choice([remove, put(random.choice(OTHERS))])
        file.write_text(json.dumps(changed(content, place, change)))
        sign(path)
        command = random.choice([("resume", str(path)), *commands(path)])
        with contextlib.redirect_stderr(io.StringIO()) as told, contextlib.redirect_stdout(io.StringIO()):
            code = main(list(command))
        sound = code in (0, 2) and "Traceback" not in told.getvalue()
        outcome = "a clear error" if code == 2 else "its command works"
        yield {"survived": sound, "outcome": outcome, "lost": 0, "command": command[0], "place": place}
