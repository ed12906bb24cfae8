"""Hyperparameters that a user's method adds: in Python, on the command line and in run folders."""

import dataclasses
import inspect
import json
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax import PPO, Hyperparams, SettingsError, Variant, grid, make_spec, seeds, setting, sweep
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.cli.commands import Compare, Search, Train
from rpo_jax.cli.main import main
from rpo_jax.registry import GROUP, _import_entry_points
from rpo_jax.runs.results import RETURNS, WHERE
from rpo_jax.runs.settings import load_spec, write_settings
from rpo_jax.settings.spec import RunSpec

pytestmark = pytest.mark.usefixtures("shared_agents")

MODULE = """
import dataclasses
import jax
import rpo_jax

@dataclasses.dataclass(frozen=True)
class Own(rpo_jax.Hyperparams):
    noise_std: float = rpo_jax.setting(0.25, "standard deviation of the noise", low=0)

def width(hyperparams, scale, half_range):
    return hyperparams.noise_std

method = rpo_jax.Variant("mine", width=width, noise=jax.random.normal, hyperparams_type=Own)
rpo_jax.register("variant", "mine", method)
"""
SIZES = shlex.split(
    "--num-envs 8 --num-steps 8 --num-seeds 2 --total-timesteps 128 --num-minibatches 2 --hidden-sizes 8"
)
IMPORT = ["--import", "own_hyperparams"]


@dataclasses.dataclass(frozen=True)
class Own(Hyperparams):
    noise_std: float = setting(0.25, "standard deviation of the noise", low=0)


def width(hyperparams: Any, scale: jax.Array, half_range: jax.Array) -> Any:
    return hyperparams.noise_std


MINE = Variant("mine", width=width, noise=jax.random.normal, hyperparams_type=Own)


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_hyperparams.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    toys.forget_names(monkeypatch)
    yield
    sys.modules.pop("own_hyperparams", None)
    _import_entry_points.cache_clear()


def trained(agent: Any, hyperparams: Hyperparams, num_seeds: int = 2) -> Any:
    metrics = sweep(agent, hyperparams, seeds(0, num_seeds))[1]
    return np.asarray(metrics["policy_loss"]), np.asarray(metrics["entropy"])


@cache
def trained_ppo() -> Any:
    return trained(toys.new_agent(PPO, hidden_sizes=()), grid())


def test_the_loss_uses_it_and_a_sweep_trains_each_value_as_alone() -> None:
    agent = toys.new_agent(MINE, hidden_sizes=())
    both = trained(agent, grid(Own(), noise_std=[0.0, 0.5]))
    ppo = trained_ppo()
    alone = trained(agent, grid(Own(), noise_std=0.5), num_seeds=4)  # as many runs: it is the same program
    for x, y, z in zip(both, ppo, alone, strict=True):
        np.testing.assert_allclose(x[0], y[0], rtol=1e-5, atol=1e-6)  # without noise it is PPO
        np.testing.assert_allclose(x[1], z[0, :2], rtol=1e-5, atol=1e-6)
        assert np.abs(x[1] - y[0]).max() > 1e-4


def test_a_schedule_may_change_it() -> None:
    def off(hyperparams: Any, progress: Any) -> Any:
        return dataclasses.replace(hyperparams, noise_std=0.0 * progress)

    agent = toys.new_agent(dataclasses.replace(MINE, schedule=off), hidden_sizes=())
    for x, y in zip(trained(agent, grid(Own())), trained_ppo(), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_bounds_and_names_are_checked() -> None:
    with pytest.raises(SettingsError, match=r"noise_std=-1.* is out of range: it must be 0 or more"):
        grid(Own(), noise_std=[0.1, -1.0])
    with pytest.raises(SettingsError, match="noise_std=-1 is out of range"):
        Own(noise_std=-1)
    with pytest.raises(SettingsError, match="unknown hyperparameter 'noise_sdt'; did you mean noise_std"):
        grid(Own(), noise_sdt=0.1)
    with pytest.raises(SettingsError, match=r"unknown hyperparameter 'noise_std'.*; one of your own needs its class"):
        grid(noise_std=0.1)
    with pytest.raises(SettingsError, match=r"the base of a grid is a record, such as Hyperparams\(\), and not <class"):
        grid(Own, noise_std=0.1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingsError, match=r"variant mine takes Own, and got Hyperparams; give rpo_jax\.grid\(Own"):
        sweep(toys.new_agent(MINE), grid(), seeds(0, 1))
    with pytest.raises(SettingsError, match="variant ppo takes Hyperparams, and got Own"):
        sweep(toys.new_agent(PPO), grid(Own(), noise_std=[0.1, 0.2]), seeds(0, 1))
    again = dataclasses.dataclass(frozen=True)(type("Own", (Own,), {}))
    with pytest.raises(SettingsError, match="takes Own, and got another class Own; create the variant and the agent"):
        sweep(toys.new_agent(MINE), grid(again()), seeds(0, 1))
    with pytest.raises(TypeError, match="lwo"):
        setting(0.1, "anything", lwo=0)  # pyright: ignore


def test_a_class_that_cannot_be_used_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Bare(Hyperparams):
        own: float = 0.1

    @dataclasses.dataclass(frozen=True)
    class Again(Hyperparams):
        gamma: Any = setting(0.5, "a preset's would take its place")

    class Undecorated(Hyperparams):
        own: float = setting(0.1, "anything")

    @dataclasses.dataclass(frozen=True)
    class OfUndecorated(Undecorated):
        more: float = setting(0.1, "anything")

    wrong: dict[Any, str] = {
        Bare: r"own of variant mine is not made by rpo_jax\.setting",
        Again: "gamma of variant mine belongs to Hyperparams",
        Undecorated: r"Undecorated\.own is not a field yet: put @dataclasses\.dataclass\(frozen=True\) above the class",
        OfUndecorated: r"OfUndecorated\.own is not a field yet",
        dict: "hyperparams_type of variant mine is <class 'dict'>; give a subclass of Hyperparams",
        "Own": "hyperparams_type of variant mine is 'Own'",
    }
    for kind, message in wrong.items():
        with pytest.raises(SettingsError, match=message):
            Variant("mine", hyperparams_type=kind)
    with pytest.raises(SettingsError, match=r"hyperparams_type of variant mine is Own\("):
        Variant("mine", hyperparams_type=Own())  # pyright: ignore


def names_of_rpo_jax() -> set[str]:
    """Of settings, of options, and of the columns of tables."""
    records = (rpo_jax.TrainConfig, RunSpec, Train, Compare, Search)
    fields = {field.name for record in records for field in dataclasses.fields(record)}
    return {"help", *inspect.signature(make_spec).parameters, *fields, *WHERE, *METRICS, *RETURNS}


@pytest.mark.parametrize("name", sorted(names_of_rpo_jax()))
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    body = {name: setting(0.1, "anything"), "__annotations__": {name: float}}
    taken: Any = dataclasses.dataclass(frozen=True)(type("Taken", (Hyperparams,), body))
    with pytest.raises(SettingsError, match=f"{name} of variant mine has a name that rpo_jax uses already"):
        rpo_jax.register("variant", "mine", Variant("mine", hyperparams_type=taken))


def test_other_methods_do_not_take_it() -> None:
    rpo_jax.register("variant", "mine", MINE)
    with pytest.raises(SettingsError, match="noise_std has no effect on variant ppo; leave it out"):
        make_spec("gymnax/Pendulum-v1", "ppo", noise_std=0.1)
    with pytest.raises(SettingsError, match="unknown setting 'noise_sdt'; did you mean noise_std"):
        make_spec("gymnax/Pendulum-v1", "mine", noise_sdt=0.1)
    spec = make_spec("gymnax/Pendulum-v1", "mine", noise_std=[0.1, 0.2])
    assert isinstance(spec.hyperparams, Own)
    np.testing.assert_allclose(spec.hyperparams.noise_std, [0.1, 0.2])
    assert np.shape(spec.hyperparams.learning_rate) == (2,)


def test_the_command_takes_it_and_the_folder_keeps_it(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--variant", "mine", "--noise-std", "0.1", "0.5", *SIZES, *IMPORT, "--out", "run"]
    assert main(command) == 0
    rows = json.loads(Path("run/settings.json").read_text())["hyperparams"]
    assert [row["noise_std"] for row in rows] == [0.1, 0.5]
    np.testing.assert_allclose(load_spec(Path("run")).hyperparams.noise_std, [0.1, 0.5])  # pyright: ignore
    assert "noise_std" in Path("run/metrics.csv").read_text().partition("\n")[0]
    assert "noise_std=0.5" in capsys.readouterr().out
    assert main(["evaluate", "run", "--num-episodes", "2", *IMPORT]) == 0
    toys.forget_names(pytest.MonkeyPatch())
    sys.modules.pop("own_hyperparams", None)
    assert main(["evaluate", "run", "--num-episodes", "2"]) == 2
    assert "variant 'mine' of run is not registered; give --import own_hyperparams" in capsys.readouterr().err


def test_the_help_has_it_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--variant", "mine", *IMPORT, "--help"])
    assert stop.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    told = told.replace(" │ │ ", " ")
    assert "--noise-std NUMBER ... standard deviation of the noise; several values make a sweep (fast: 0.25)" in told


def test_a_comparison_gives_it_to_the_method_that_has_it() -> None:
    command = ["compare", "--variants", "mine", "ppo", "--noise-std", "0.1", *SIZES, *IMPORT, "--out", "both"]
    assert main(command) == 0
    rows = [json.loads(Path(f"both/{name}/settings.json").read_text())["hyperparams"] for name in ("mine", "ppo")]
    assert rows[0][0]["noise_std"] == 0.1
    assert "noise_std" not in rows[1][0]


def test_the_help_has_that_of_an_installed_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine-1.dist-info").mkdir()
    (tmp_path / "mine-1.dist-info/METADATA").write_text("Name: mine\nVersion: 1\n")
    (tmp_path / "mine-1.dist-info/entry_points.txt").write_text(f"[{GROUP}]\nmine = own_hyperparams\n")
    monkeypatch.syspath_prepend(tmp_path)
    _import_entry_points.cache_clear()
    with pytest.raises(SystemExit):
        main(["train", "-h"])
    assert "--noise-std" in capsys.readouterr().out


def test_a_folder_is_read_once_the_class_has_another_field_and_not_once_it_has_one_less(tmp_path: Path) -> None:
    rpo_jax.register("variant", "mine", MINE)
    spec = make_spec("gymnax/Pendulum-v1", "mine", noise_std=[0.1, 0.2])
    write_settings(tmp_path, spec)

    @dataclasses.dataclass(frozen=True)
    class More(Own):
        end: float | None = setting(None, "anything")
        more: float = setting(0.75, "anything")

    rpo_jax.register("variant", "mine", dataclasses.replace(MINE, hyperparams_type=More))
    read: Any = load_spec(tmp_path).hyperparams
    np.testing.assert_allclose(read.noise_std, [0.1, 0.2])
    np.testing.assert_allclose(read.more, [0.75, 0.75])
    assert read.end is None
    rpo_jax.register("variant", "mine", PPO)
    with pytest.raises(SettingsError, match="Hyperparams, its hyperparameters, has no noise_std any more, or yet"):
        load_spec(tmp_path)


def test_fields_in_slots_are_settings_too() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Slots(Hyperparams):
        noise_std: float = setting(0.25, "standard deviation of the noise", low=0)

    agent = toys.new_agent(dataclasses.replace(MINE, hyperparams_type=Slots))
    with pytest.raises(SettingsError, match=r"these are several: .*noise_std \[2\]"):
        rpo_jax.init(agent, grid(Slots(), noise_std=[0.1, 0.2]), seeds(0, 1)[0])


def test_an_import_without_a_module_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--import"], ["--import="], ["--import", "--gamma", "0.9"], []):
        assert main(["train", "--variant", "mine", "--noise-std", "0.1", *words]) == 2
        assert "unknown setting --noise-std" in (told := capsys.readouterr().err)
        assert "; --import MODULE adds those of your own methods" in told
    assert main(["train", "--lr", "0.1"]) == 2
    assert "--import" not in capsys.readouterr().err


def test_a_misspelt_option_is_told_with_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--variant", "mine", "--noise-sdt", "0.1", *IMPORT]) == 2
    assert "unknown setting --noise-sdt; did you mean --noise-std" in capsys.readouterr().err
    assert main(["train", "--noise-std", "0.1", *IMPORT]) == 2
    assert "noise_std has no effect on variant rpo; leave it out" in capsys.readouterr().err
