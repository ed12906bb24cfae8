"""A link in a folder leads no command to write or remove anything elsewhere."""

import json
import shutil
from pathlib import Path

import pytest
import toys
from rich.console import Console
from test_checkpoints import stopped_after

from rpo_jax import SettingsError, make_spec
from rpo_jax.cli.main import main
from rpo_jax.files import parts_of
from rpo_jax.loggers import make_logger
from rpo_jax.runs import launch
from rpo_jax.runs.session import Session

pytestmark = pytest.mark.usefixtures("shared_agents")

SPEC = make_spec(
    "gymnax/Pendulum-v1",
    num_seeds=1,
    num_envs=4,
    num_steps=8,
    num_minibatches=4,
    hidden_sizes=(8,),
    total_timesteps=4 * 8 * 4,
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("links") / "run"
    session = Session(Console(quiet=True), on_progress=stopped_after(2))
    launch.run_to_folder(SPEC, path, session)
    return path


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of something else, with names that rpo_jax uses too."""
    path = tmp_path / "foreign"
    for name in ("file", "7/file", "8.orbax-checkpoint-tmp-1/file", "0000000001.parquet", "id", "rpo/settings.json"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("precious")
    return path


def content(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): file.read_text() for file in sorted(path.rglob("*")) if file.is_file()}


COMMANDS = {
    "resume": ("resume",),
    "export": ("export",),
    "play": ("play", "--no-open", "--max-steps", "3"),
}


@pytest.mark.parametrize(
    ("link", "to", "command"),
    [
        (".lock", "file", "resume"),
        ("checkpoints", ".", "resume"),
        ("checkpoints/7", "7", "resume"),
        ("checkpoints/7.orbax-checkpoint-tmp-9", "7", "resume"),
    ],
)
def test_what_would_change_something_elsewhere_is_refused(
    link: str, to: str, command: str, folder: Path, foreign: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(foreign)
    if link == "checkpoints":
        shutil.rmtree(folder / link)
    (folder / link).symlink_to(foreign / to)
    arguments = COMMANDS[command]
    assert main([arguments[0], str(folder), *arguments[1:]]) == 2
    assert f"{folder / link} is a link" in capsys.readouterr().err
    assert content(foreign) == before


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("resume", ["metrics.csv", "curves.png", "policies.npz", "summary.json"]),
        ("export", ["policy.stablehlo", "policy.onnx"]),
        ("play", ["play.gif"]),
    ],
)
def test_a_file_that_is_a_link_is_replaced_and_not_followed(
    command: str, names: list[str], folder: Path, foreign: Path
) -> None:
    before, arguments = content(foreign), COMMANDS[command]
    for name in names:
        (folder / name).unlink(missing_ok=True)
        for link in (name, f".{name}.part"):
            (folder / link).symlink_to(foreign / "file")
    assert main([arguments[0], str(folder), *arguments[1:]]) == 0
    assert content(foreign) == before
    assert not any((folder / name).is_symlink() for name in names[:1])


@pytest.mark.parametrize(
    ("name", "link"), [("csv", "log.csv"), ("parquet", "log.parquet"), ("tensorboard", "tensorboard")]
)
def test_no_logger_writes_through_a_link(name: str, link: str, foreign: Path, tmp_path: Path) -> None:
    before, session = content(foreign), Session(Console(quiet=True), loggers=[name])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / link).symlink_to(foreign / ("file" if name == "csv" else "."))
    with toys.told(f"logger {name} failed.*(is a link|holds something else)"):
        launch.run_to_folder(SPEC, tmp_path / "run", session)
    assert content(foreign) == before


def test_wandb_does_not_start_where_its_folder_is_a_link(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    before = content(foreign)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "wandb").symlink_to(foreign)
    with pytest.raises(SettingsError, match=r"W&B does not start: .*wandb is a link"):
        make_logger("wandb", SPEC, tmp_path / "run")
    assert content(foreign) == before


def test_a_part_of_a_comparison_that_is_elsewhere_is_left_as_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both, before = tmp_path / "both", sorted(folder.rglob("*"))
    both.mkdir()
    (both / "rpo").symlink_to(folder)
    (both / "comparison.json").write_text(json.dumps([{"variant": "rpo"}]))
    assert main(["resume", str(both)]) == 2
    assert f"{both / 'rpo'} is a link" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_only_own_parts_of_files_are_removed(tmp_path: Path) -> None:
    for name in (".film.mp4.part", ".a.0123abcd.part", ".part", "b.0123abcd.part"):
        (tmp_path / name).write_text("")
    assert [path.name for path in parts_of(tmp_path)] == [".a.0123abcd.part"]


# Files of something else


@pytest.mark.parametrize("name", ["metrics.csv", "curves.png", "policies.npz", "checkpoints/7"])
@pytest.mark.parametrize("command", ["train", "compare"])
def test_files_of_something_else_are_not_overwritten(
    name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "rpo" if command == "compare" else tmp_path
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("precious")
    assert main([command, "--out", str(tmp_path)]) == 2
    assert f"{folder} already holds {name.partition('/')[0]}, which a run would overwrite" in capsys.readouterr().err
    assert content(folder) == {name: "precious"}


def test_a_log_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("precious\n1,2\n")
    with toys.told(r"logger csv failed.*log\.csv holds something else"):
        launch.run_to_folder(SPEC, tmp_path, Session(Console(quiet=True), loggers=["csv"]))
    assert (tmp_path / "log.csv").read_text() == "precious\n1,2\n"
