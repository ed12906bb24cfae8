"""A user's own environments, variants, heads and networks by name, in Python, on the command line and in folders."""

import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax import PPO, RPO, SettingsError, TrainConfig, make_agent, make_env, make_spec, register
from rpo_jax.algorithm.networks import NETWORKS
from rpo_jax.algorithm.variants import VARIANTS
from rpo_jax.cli.main import main
from rpo_jax.registry import import_modules
from rpo_jax.runs.results import load_run
from rpo_jax.runs.settings import write_settings

pytestmark = pytest.mark.usefixtures("shared_agents")

DATA = Path(__file__).parent / "data"
NAMES = ["--variant", "gaussian", "--head", "logistic", "--network", "one-body"]
SIZES = ["--num-envs", "16", "--num-steps", "10", "--num-seeds", "2"]
COMMAND = ["train", "mine/slide", *NAMES, *SIZES, "--total-timesteps", "1600"]
OWN = ["--import", "own_names"]


@pytest.fixture(autouse=True)
def _own_names(monkeypatch):
    """Registries as they were, and the module to be imported again."""
    monkeypatch.chdir(DATA)
    monkeypatch.setattr(sys, "path", list(sys.path))
    toys.forget_names(monkeypatch)


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("own") / "whole"


@functools.cache
def trained(folder: Path) -> Path:
    """A run of own names, which is trained once: by the first test that asks for it, so that names are as in a test."""
    assert main([*COMMAND, "--out", str(folder), *OWN]) == 0
    return folder


def assert_goes_on(command: list[str], folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops a training command midway, resumes it, and compares the results with those of a run that was not stopped.

    Args:
        command: of at least 10 updates; it ends with `--import MODULE`.
        folder: folder of the command, which it names.
        whole: folder of the run that is not stopped.
        monkeypatch: of the test.
    """

    with toys.stopped_after(3), toys.told("stopping"):
        assert main(command) == 130
    assert any((folder / "checkpoints").iterdir())
    for name in ("summary.json", "metrics.csv", "policies.npz"):  # all that is left is the checkpoint
        (folder / name).unlink()
    toys.forget_names(monkeypatch)
    assert main(["resume", str(folder)]) == 2
    assert main(["resume", str(folder), *command[-2:]]) == 0
    assert 3 <= json.loads((folder / "summary.json").read_text())["resumed_from"] < 10
    assert (folder / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    jax.tree.map(np.testing.assert_array_equal, *(load_run(path).policy for path in (folder, whole)))


def in_process(*arguments: str, cwd: Path = DATA) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which has registered nothing."""
    command = [sys.executable, "-m", "rpo_jax", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_a_folder_of_own_names_is_trained_evaluated_played_and_exported(whole_folder, capsys):
    folder = str(trained(whole_folder))
    assert json.loads((whole_folder / "settings.json").read_text())["imports"] == ["own_names"]
    assert main(["evaluate", folder, "--num-episodes", "4", *OWN]) == 0
    assert main(["play", folder, "--max-steps", "5", "--no-open", *OWN]) == 0
    assert main(["export", folder, *OWN]) == 0
    out = capsys.readouterr().out
    assert (whole_folder / "policy.stablehlo").exists()
    assert "no ONNX: " in out
    assert "Shared" in out


def test_a_stopped_run_of_own_names_goes_on(whole_folder, tmp_path, capsys, monkeypatch):
    trained(whole_folder)
    toys.forget_names(monkeypatch)
    folder = tmp_path / "run"
    assert_goes_on([*COMMAND, "--out", str(folder), *OWN], folder, whole_folder, monkeypatch)
    unknown = capsys.readouterr().err
    expected = "variant 'gaussian' and head 'logistic' and network 'one-body' and environment 'mine/slide'"
    assert f"{expected} of {folder} are not registered; give --import own_names" in unknown
    assert "Traceback" not in unknown


def test_opening_a_folder_imports_nothing(whole_folder, tmp_path):
    """Even where the module is in the current folder."""
    shutil.copytree(trained(whole_folder), tmp_path / "run")
    import_modules(("own_names",))
    write_settings(tmp_path / "run", make_spec("gymnax/Pendulum-v1", head="logistic"))  # all else is of the library
    done = in_process("evaluate", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "--import own_names" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 / 0", r"--import broken failed: ZeroDivisionError: division by zero \(.*broken.py:1\)"),
        ("import nothing_like_it", r"failed: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("import rpo_jax; rpo_jax.register('variant', 'ppo', rpo_jax.PPO)", r"'ppo' belongs to rpo_jax"),
    ],
)
def test_an_import_that_fails_is_one_line(tmp_path, capsys, monkeypatch, content, message):
    (tmp_path / "broken.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--import", "broken", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert re.search(message, error)


def test_a_module_that_is_not_there_is_named(capsys):
    assert main(["envs", "--import", "own_name"]) == 2
    assert "there is no module of that name" in capsys.readouterr().err


def test_registered_environments_are_listed(capsys):
    assert main(["envs", "gymnax", "--import", "own_names"]) == 0
    assert "mine/slide" in capsys.readouterr().out


def test_names_are_found_through_entry_points(tmp_path):
    info = tmp_path / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rpo_jax]\nown = own_names\n")
    program = "import rpo_jax; print(rpo_jax.make_env('mine/slide').name, rpo_jax.get_variant('gaussian').name)"
    paths = os.pathsep.join([str(tmp_path), str(DATA), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.stdout.split() == ["mine/slide", "gaussian"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("variant", "rpo", PPO), "belongs to rpo_jax"),
        (("variant", "a b", PPO), "cannot be the name of a registered variant"),
        (("variant", "mine", "rpo"), "needs a Variant, and got str"),
        (("head", "mine", PPO), "needs a Head"),
        (("environment", "slide", toys.reaching_env), "cannot be the name of a registered environment"),
        (("environment", "brax/mine", toys.reaching_env), "belong to rpo_jax"),
        (("environment", "mine/slide", 3), "needs a function"),
        (("thing", "mine", PPO), "unknown kind 'thing'"),
    ],
)
def test_what_cannot_be_registered_is_told(arguments, message):
    with pytest.raises(SettingsError, match=message):
        register(*arguments)


def test_a_name_can_be_registered_again():
    for noise in (0, 1):
        register("variant", "mine", dataclasses.replace(RPO, check=lambda agent, noise=noise: None))
    assert rpo_jax.get_variant("mine").name == "mine"
    assert "mine" in VARIANTS


def test_an_environment_has_the_name_it_was_registered_by():
    register("environment", "mine/reaching", toys.reaching_env)
    assert make_env("mine/reaching", time_limit="terminate").name == "mine/reaching"
    assert make_spec("mine/reaching", total_timesteps=1024 * 32).env == "mine/reaching"
    with pytest.raises(SettingsError, match="backend='mjx' is for brax"):
        make_env("mine/reaching", backend="mjx")
    register("environment", "mine/nothing", lambda: None)
    with pytest.raises(SettingsError, match="returns NoneType"):
        make_env("mine/nothing")


class Own(nn.Module):
    """A network with a fault that can be chosen."""

    fault: str = ""

    def setup(self) -> None:
        self.loc = nn.Dense(2 if self.fault == "loc" else 1)

    def act(self, obs: jax.Array) -> Any:
        return self.loc(obs), jnp.zeros(3 if self.fault == "log_scale" else 1)

    def evaluate(self, obs: jax.Array) -> Any:
        return obs if self.fault == "value" else obs[..., 0]


@pytest.mark.parametrize("fault", ["loc", "log_scale", "value"])
def test_a_network_of_wrong_shapes_is_refused(fault):
    with pytest.raises(SettingsError, match=f"gives a {fault} of shape"):
        make_agent(toys.reaching_env(), PPO, toys.tiny_config(), network=Own(fault))


def test_a_network_without_a_method_is_refused():
    with pytest.raises(SettingsError, match="Dense has no method act"):
        make_agent(toys.reaching_env(), PPO, toys.tiny_config(), network=nn.Dense(3))


def test_a_constraint_needs_a_log_scale_of_its_own():
    config = toys.tiny_config(std="state")
    with pytest.raises(SettingsError, match="needs a network with a parameter log_scale"):
        make_agent(toys.reaching_env(), rpo_jax.get_variant("ppo-min-std"), config)


def test_an_own_network_learns():
    import_modules(("own_names",))
    network = NETWORKS.find("one-body")
    config = TrainConfig(num_envs=64, num_steps=10, num_minibatches=4, total_timesteps=64 * 10 * 60)
    env = make_env("mine/slide")
    agent = make_agent(env, RPO, config, network=network(env, config))
    _, metrics = rpo_jax.sweep(agent, rpo_jax.grid(rpo_alpha=[0.1], learning_rate=[3e-3]), rpo_jax.seeds(0, 2))
    rewards = np.asarray(metrics["round_reward"])[0]
    assert (rewards[:, -5:].mean(-1) > 0.5 * rewards[:, :5].mean(-1)).all()  # of negative rewards: less than half


def test_the_method_of_the_page_is_registered_trained_and_resumed(tmp_path, monkeypatch):
    readme = (DATA.parent.parent / "rpo_jax" / "algorithm" / "README.md").read_text()
    program = next(text for text in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "register(" in text)
    assert len(program.splitlines()) <= 25
    (tmp_path / "mine.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    line = re.findall(
        r"^rpo-jax (train --variant gaussian-rpo .*) --import mine --out runs/mine$", readme, re.MULTILINE
    )[0]
    command = [*line.split(), *SIZES, "--total-timesteps", "1600", "--out", "runs/mine", "--import", "mine"]
    assert main([*command, "--out", "runs/whole"]) == 0
    assert_goes_on(command, Path("runs/mine"), Path("runs/whole"), monkeypatch)
    assert main(["evaluate", "runs/mine", "--import", "mine", "--num-episodes", "2"]) == 0
