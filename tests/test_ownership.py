"""A folder is written by one process at a time, and what is in it belongs together."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import toys
from rich.console import Console

from rpo_jax import SettingsError, load_run
from rpo_jax.cli.main import main
from rpo_jax.cli.train import default_folder
from rpo_jax.execution.fit import Progress
from rpo_jax.files import atomic_write
from rpo_jax.runs.launch import run_to_folder
from rpo_jax.runs.ownership import InUseError, lock_folder
from rpo_jax.runs.session import Session
from rpo_jax.settings.spec import make_spec

pytestmark = pytest.mark.usefixtures("shared_agents")
LINE = "--num-envs 4 --num-steps 8 --num-minibatches 2 --hidden-sizes 8 --num-seeds 1 --total-timesteps 256"
OPTIONS = [*LINE.split(), "--no-compilation-cache"]
SIZES = {"num_envs": 4, "num_steps": 8, "num_minibatches": 2, "hidden_sizes": (8,), "total_timesteps": 256}


@pytest.mark.parametrize("command", ["train", "compare", "resume"])
def test_a_folder_in_use_is_refused_and_its_owner_is_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    if command == "resume":
        with pytest.raises(ZeroDivisionError):
            train_to(folder, lambda: 1 // 0)
    arguments = [str(folder), "--no-compilation-cache"] if command == "resume" else [*OPTIONS, "--out", str(folder)]
    with lock_folder(folder):
        before = sorted(folder.rglob("*"))
        assert main([command, *arguments]) == 2
        assert sorted(folder.rglob("*")) == before
    assert f"{folder} is in use by process {os.getpid()} on " in capsys.readouterr().err
    assert main([command, *arguments]) == 0


def test_many_take_turns_with_a_folder_that_is_removed_each_time(tmp_path: Path) -> None:
    inside, turns = [], []

    def take_turns(number: int) -> None:
        for _ in range(100):
            with contextlib.suppress(InUseError), lock_folder(tmp_path / "folder"):
                inside.append(number)
                turns.append(list(inside))
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take_turns, range(4)))
    assert max(map(len, turns)) == 1
    assert not list(tmp_path.iterdir())


def test_a_process_that_was_killed_owns_nothing(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from rpo_jax.runs.ownership import lock_folder; from rpo_jax.files import atomic_write\n"
        "folder = Path(sys.argv[1])\n"
        "with lock_folder(folder), atomic_write(folder / 'a.txt'): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".a.txt.*.part"))) == 1
    with lock_folder(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_an_empty_folder_is_left_by_nobody(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpo_jax.files.secrets.token_hex", lambda length: "abcd")
    (tmp_path / "other").write_text("precious")
    (tmp_path / ".a.txt.abcd.part").symlink_to(tmp_path / "other")
    with pytest.raises(FileExistsError), atomic_write(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "other").read_text() == "precious"


def test_names_given_in_the_same_second_differ() -> None:
    assert default_folder("gymnax/Pendulum-v1", "rpo") != default_folder("gymnax/Pendulum-v1", "rpo")


# While it trains


def train_to(folder: Path, disturb: Callable[[], Any]) -> None:
    """Trains two updates or more, and calls `disturb` once, after the first."""

    def once(progress: Progress) -> None:
        if progress.updates == 1:
            disturb()

    run_to_folder(
        make_spec("gymnax/Pendulum-v1", num_seeds=1, **SIZES), folder, Session(Console(quiet=True), on_progress=once)
    )


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_folder_that_disappears_is_made_anew(how: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    disturb = {"removed": lambda: shutil.rmtree(folder), "renamed": lambda: folder.rename(tmp_path / "moved")}[how]
    with toys.told("was moved or removed during training"):
        train_to(folder, disturb)
    assert load_run(folder).spec.variant == "rpo"


def test_results_are_not_written_beside_the_settings_of_another_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    other = "{}"
    with toys.told("was given to another run during training"):
        train_to(folder, lambda: (folder / "settings.json").write_text(other))
    assert (folder / "settings.json").read_text() == other
    assert not (folder / "summary.json").exists()
    (own_folder,) = tmp_path.glob("run-*")
    assert load_run(own_folder).spec.env == "gymnax/Pendulum-v1"


# Comparisons


def test_a_part_that_is_missing_is_never_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "both"
    assert main(["compare", *OPTIONS, "--out", str(folder)]) == 0
    assert [row["variant"] for row in json.loads((folder / "comparison.json").read_text())] == ["rpo", "ppo"]
    shutil.rmtree(folder / "ppo")
    assert main(["resume", str(folder)]) == 2
    assert "there is no settings.json in it" in capsys.readouterr().err
    (folder / "rpo" / "summary.json").unlink()
    shutil.rmtree(folder / "rpo" / "checkpoints", ignore_errors=True)
    assert main(["resume", str(folder)]) == 2
    assert "was stopped while its runs were set up; remove it, and begin again" in capsys.readouterr().err


def test_a_damaged_list_of_parts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{")
    assert main(["resume", str(tmp_path)]) == 2


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="is a file, and a folder is needed"), lock_folder(tmp_path / "file"):
        pass


def test_a_folder_that_was_moved_takes_its_lock_with_it(tmp_path: Path) -> None:
    """Its owner does not remove that of another process, which owns the folder of the same name now."""
    folder = tmp_path / "run"
    with lock_folder(folder):
        folder.rename(tmp_path / "away")
        second = lock_folder(folder)
        second.__enter__()
    with pytest.raises(SettingsError, match="is in use by"), lock_folder(folder):
        pass
    second.__exit__(None, None, None)
    assert not folder.exists()
