"""Folders whose digests are right and whose content is not: every command refuses them in one line."""

import json
import os
import random
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from test_checkpoints import stopped_after

from rpo_jax import SettingsError, make_spec
from rpo_jax.cli.main import main
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.snapshot import digest
from rpo_jax.runs import launch
from rpo_jax.runs.results import read_metrics
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import load_spec
from tampering import OTHERS, changed, commands, places_in, put, remove, sign

pytestmark = pytest.mark.usefixtures("shared_agents")

SILENT = Session(Console(quiet=True), checkpoint_seconds=0.0, checkpoint_share=1.0)
ENV_ARGS = (
    *({"env_id": "x"}, {"name": 5}, {"time_limit": None}, {"backend": "mjx"}, {"": {}}, {"\x1b[31m[red]": [None]}),
    *({"g": None}, {"g": 10**400}, {"g": -(10**400)}, {"max_episode_steps": 2**31}, {"max_episode_steps": -(10**30)}),
)
SIZES: dict[str, Any] = {"num_envs": 4, "num_steps": 8, "num_minibatches": 4, "hidden_sizes": (8,)}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped half-way: with results, evaluations and a checkpoint."""
    path = tmp_path_factory.mktemp("odd") / "run"
    spec = make_spec(
        "gymnax/Pendulum-v1",
        num_seeds=1,
        rpo_alpha=[0.1, 0.5],
        num_evaluations=2,
        evaluation_episodes=2,
        total_timesteps=4 * 8 * 8,
        **SIZES,
    )
    launch.run_to_folder(spec, path, SILENT._replace(on_progress=stopped_after(4)))
    return path


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stopped, tmp_path / "run")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, words: str = "") -> None:
    """Checks that a command ends with a code and one line."""
    capsys.readouterr()
    assert main(list(arguments)) in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if "compiled programs are stored" not in line]
    assert lines[-1].startswith("rpo-jax: error: ")
    assert len(lines[-1]) < 1000
    assert lines[-1].isprintable()
    assert words in lines[-1]
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("name", ["settings.json", "summary.json"])
def test_whatever_json_holds_no_command_ends_in_a_traceback(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rpo_jax.runs.evaluate.evaluate_all", lambda *args, **options: np.zeros((2, 1, 2)))
    monkeypatch.setattr("rpo_jax.visual.play.play", lambda *args: 0.0)
    monkeypatch.setattr("rpo_jax.export.policy.export", lambda *args: {})
    kept = {file: (folder / file).read_bytes() for file in ("settings.json", "summary.json")}
    content, draw = json.loads(kept[name]), random.Random(0)
    odd = [[], {}, None, 5, "text", [content]]
    for place in draw.sample([*places_in(content)], 40):
        odd += [changed(content, place, change) for change in (remove, put(draw.choice(OTHERS)))]
    if name == "settings.json":
        odd += [changed(content, ("env_args",), put(arguments)) for arguments in ENV_ARGS]
    for other in odd:
        for file, before in kept.items():
            (folder / file).write_bytes(before)
        (folder / name).write_text(json.dumps(other))
        sign(folder)
        arguments = draw.choice([*commands(folder)])
        assert main([*arguments]) in (0, 2), (arguments, other)
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "place", "other", "words"),
    [
        ("settings.json", ("seeds",), {"0": 1}, "its content['seeds'] is not a list"),
        ("settings.json", ("config", "num_envs"), None, "['num_envs'] is not"),
        ("settings.json", ("hyperparams", 0, "gamma"), None, "gamma is null in some of its settings"),
        ("settings.json", ("evaluation_episodes",), 10**12, "it must be 1000000 or less"),
        ("summary.json", ("final_return", 0), [], "final_return[0] is not of length 1"),
        ("summary.json", ("final_return", 0, 0), "text", "['final_return'][0][0] is not null"),
        ("summary.json", ("best_return",), None, "holds no returns of evaluations"),
        ("summary.json", ("files",), ["policies.npz"], "['files'] is not an object"),
        ("summary.json", ("seeds",), [7], "are not those of the run"),
    ],
)
def test_what_is_wrong_is_named(
    name: str, place: tuple[Any, ...], other: Any, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(changed(content, place, put(other))))
    sign(folder)
    refused(capsys, "export", str(folder), "--best", words=words)


@pytest.mark.parametrize(
    "content", ["", "{}", "5", '[{"variant": 5}]', '[{"variant": "../rpo"}]', '[{"variant": "/"}]', '[["variant"]]']
)
def test_a_list_of_parts_that_is_none_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "comparison.json").write_text(content)
    refused(capsys, "resume", str(tmp_path), words="comparison.json is damaged")


def test_metrics_that_are_none_are_refused(folder: Path) -> None:
    spec = load_spec(folder)
    whole = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    for lines in (whole[:-1], [*whole[:-1], whole[-1].replace(",", ",x")], ["\0\n"], ["\udcff"]):
        (folder / "metrics.csv").write_text("".join(lines), errors="surrogateescape")
        sign(folder)
        with pytest.raises(SettingsError, match=r"metrics\.csv is damaged"):
            read_metrics(folder, spec)


# Checkpoints


def rewritten(folder: Path, change: Callable[[dict[str, np.ndarray], dict[str, Any]], Any]) -> None:
    """Writes the only checkpoint of a folder anew, with a right digest."""
    path, last = folder / "checkpoints", max(int(step.name) for step in (folder / "checkpoints").iterdir())
    with Checkpoints(folder)._manager() as (manager, args):
        parts = {"arrays": args.StandardRestore(), "info": args.JsonRestore()}
        arrays, info = (dict(manager.restore(last, args=args.Composite(**parts)))[name] for name in parts)
    change(arrays, info)
    shutil.rmtree(path)
    with Checkpoints(folder)._manager() as (manager, args):
        info["digest"] = digest(arrays, info)
        parts = {"arrays": args.StandardSave(arrays), "info": args.JsonSave(info)}
        manager.save(last, args=args.Composite(**parts))


METRIC = ".metrics['entropy']"
ODD: dict[str, tuple[Callable[[dict[str, np.ndarray], dict[str, Any]], Any], str]] = {
    "huge": (lambda arrays, info: arrays.update(huge=np.zeros(2 * 10**7)), "one of this run has"),
    "other updates": (lambda arrays, info: arrays.update({METRIC: arrays[METRIC][..., 1:]}), "do not match"),
    "other runs": (lambda arrays, info: arrays.update({METRIC: arrays[METRIC][:1]}), "do not match"),
    "no axis": (lambda arrays, info: arrays.update({METRIC: np.ones(3, np.float32)}), "do not match"),
    "no numbers": (lambda arrays, info: info.update(seconds="text"), "['seconds'] is not a number"),
    "no versions": (lambda arrays, info: info.update(versions=[]), "['versions'] is not an object"),
    "no runs": (lambda arrays, info: info.update(runs_at_once=0), "it must be 1 or more"),
}


@pytest.mark.parametrize("how", ODD)
def test_a_checkpoint_of_something_else_is_refused(how: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, words = ODD[how]
    rewritten(folder, change)
    capsys.readouterr()
    assert main(["resume", str(folder)]) == 2
    assert words in (complaint := capsys.readouterr().err)
    assert "Traceback" not in complaint


# Modules


def test_a_module_that_a_folder_names_is_imported_by_the_user_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("swing", "swinger.swing"):
        path = tmp_path / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(SWING)
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
        described = json.loads((folder / "settings.json").read_text()) | {"env": f"gymnasium/{name}:Swing-v0"}
        (folder / "settings.json").write_text(json.dumps(described))
        sign(folder)
        for arguments in (*commands(folder), ("resume", str(folder))):
            refused(
                capsys, *arguments, words=f"runs code of the module '{name}'; if you trust it, give --import {name}"
            )
        with pytest.raises(SettingsError, match=f"give --import {name}"):
            load_spec(folder)
        assert name not in sys.modules
        assert main(["evaluate", str(folder), "--num-episodes", "1", "--import", name]) == 0
        monkeypatch.delitem(sys.modules, name)


SWING = """
import gymnasium
gymnasium.register("Swing-v0", "gymnasium.envs.classic_control.pendulum:PendulumEnv", max_episode_steps=3)
"""


# Sizes


def peak_of(call: Callable[[], Any]) -> int:
    """The most bytes that a call allocates; NumPy's count."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_array_that_is_larger_than_its_file_is_not_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(folder / "policies.npz") as stored:
        leaves = {name: stored[name] for name in stored.files}
    leaves[next(iter(leaves))] = np.zeros(2**24, np.float32)
    np.savez_compressed(folder / "policies.npz", **leaves)  # pyright: ignore[reportArgumentType]
    sign(folder)
    assert (folder / "policies.npz").stat().st_size < 2**20
    arguments = "export", str(folder)
    assert peak_of(lambda: refused(capsys, *arguments, words="its arrays are not those of settings.json")) < 2**25


@pytest.mark.parametrize("name", ["settings.json", "summary.json", "policies.npz"])
def test_a_file_that_is_larger_than_any_is_not_read(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(folder / name, 2**40)  # of which the disk holds little
    refused(capsys, "export", str(folder), words=f"{name} is damaged")
