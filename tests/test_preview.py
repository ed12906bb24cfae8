"""Settings can be seen before anything is trained, and names of other libraries are understood."""

import dataclasses
import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from test_disk import Usage

from rpo_jax import SettingsError, make_spec
from rpo_jax.cli import options
from rpo_jax.cli.commands import Train
from rpo_jax.cli.main import main
from rpo_jax.cli.parse import _option_names, parse
from rpo_jax.cli.preview import _settings_table
from rpo_jax.settings.aliases import ALIASES

pytestmark = pytest.mark.usefixtures("shared_agents")
SIZES = ["--num-envs", "8", "--num-steps", "16", "--num-minibatches", "4", "--hidden-sizes", "8", "--num-seeds", "2"]


@pytest.mark.parametrize("command", [["train", "--rpo-alpha", "0.1", "0.5"], ["compare", "--num-seeds", "4"]])
def test_a_dry_run_says_what_would_be_trained(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--dry-run", *SIZES, "--total-timesteps", "1024", "--no-compilation-cache"]
    assert main([command[0], *arguments, *command[1:]]) == 0
    out = capsys.readouterr().out
    alphas = ["0.1 0.5"] if command[0] == "train" else ["0.5", "0"]
    assert re.findall(r"rpo_alpha +│ ([\d. ]*\d)", out) == alphas
    assert len(re.findall(r"gamma +│ 0.98 ", out)) == len(alphas)
    assert re.search(r"runs: 4 \(settings x seeds\), 4 at once on (1 device|\d+ devices)\n", out)
    assert "updates of each run: 8 of 128 steps, in minibatches of 32" in out
    assert len(re.findall(r"evaluation_episodes +│ 16 ", out)) == len(alphas)
    assert re.search(r"memory: \d+\.\d MiB on each device\ndisk: about \d+\.\d MiB for results", out)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("fault", ["a run is there", "a file is there", "memory", "disk"])
def test_a_dry_run_refuses_what_training_refuses(
    command: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = [command, *SIZES, "--total-timesteps", "1024", "--no-compilation-cache", "--num-evaluations", "1"]
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "settings.json").touch()
    folder = {"a run is there": "used", "a file is there": "used/settings.json/run"}.get(fault, "new")
    if fault == "memory":
        monkeypatch.setattr("rpo_jax.execution.memory.usable_bytes", lambda devices: 1000)
    if fault == "disk":
        monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(free=1000))
    errors = []
    for more in (["--dry-run"], []):
        assert main([*arguments, "--out", str(tmp_path / folder), *more]) == 2
        errors.append(capsys.readouterr().err.splitlines()[-1])
    assert errors[0].startswith("rpo-jax: error: ")
    assert errors[0] == errors[1] or fault == "a file is there"
    assert [path.name for path in tmp_path.iterdir()] == ["used"]


def test_whatever_a_setting_holds_is_shown() -> None:
    console = Console(file=io.StringIO(), width=80)
    label = f"[/b]{'run' * 40}: seed 3"
    spec = dataclasses.replace(make_spec("gymnax/Pendulum-v1"), init_from=label, num_threads=7)
    console.print(_settings_table(spec))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    values = "".join(line.split("│")[2].strip() for line in text.splitlines() if line.count("│") == 3)
    assert label.replace(" ", "") in values.replace(" ", "")
    assert re.search("num_threads +│ 7 ", text)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "brax/hopper", "--help"], {"num-steps": "fast: 16", "rpo-alpha": "fast: 0.1"}),
        (["train", "--preset", "paper", "--help"], {"num-steps": "paper: 2048", "hidden-sizes": "paper: 64 64"}),
        (["train", "--help", "--num-seeds", "2", "--preset=paper"], {"num-steps": "paper: 2048"}),
        (["train", "--preset", "fast", "brax/hopper", "-h"], {"num-steps": "fast: 16", "rpo-alpha": "fast: 0.1"}),
        (["compare", "--num_seeds=2", "brax/hopper", "--dry-run", "-h"], {"num-steps": "fast: 16"}),
        (["compare", "-h"], {"num-steps": "fast: 8", "value-learning-rate": "fast: not given"}),
        (["train", "--preset", "none", "--help"], {}),
    ],
)
def test_the_help_shows_the_values_of_the_preset(
    arguments: list[str], expected: dict[str, str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "_shown", {})
    with pytest.raises(SystemExit):
        parse(arguments)
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, value in expected.items():
        assert re.search(rf"--{name} [^(]*(\([^()]*\)[^(]*)*\({value}\)", text), name
    assert expected or not options._shown


def test_names_of_other_libraries_are_those_of_settings_here() -> None:
    known = _option_names(Train)
    assert {name.replace("_", "-") for name in ALIASES.values()} <= known
    assert not {name.replace("_", "-") for name in ALIASES} & known


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--lr", "unknown setting --lr; did you mean --learning-rate?"),
        ("--batch-size", "did you mean --num-minibatches, which is num_envs times num_steps, divided by the number of"),
        ("--ent_coef=0.1", "did you mean --entropy-coefficient?"),
        ("--env-id", "--env-id is not an option: the environment comes first, as in rpo-jax train ENV"),
    ],
)
def test_an_option_of_another_library_is_explained(option: str, message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        parse(["train", option, "1"])


def test_a_setting_of_another_library_is_explained_in_python() -> None:
    with pytest.raises(SettingsError, match="unknown setting 'lr'; it is called learning_rate here"):
        make_spec("gymnax/Pendulum-v1", lr=1e-3)
    with pytest.raises(
        SettingsError, match="'minibatch_size'; give num_minibatches, which is num_envs times num_steps,"
    ):
        make_spec("gymnax/Pendulum-v1", minibatch_size=64)
