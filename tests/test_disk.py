"""The disk space that a run is said to take, beside what it takes."""

import re
import shutil
from typing import NamedTuple

import pytest
from rich.console import Console

from rpo_jax import SettingsError
from rpo_jax.runs import disk, launch
from rpo_jax.runs.session import Session
from rpo_jax.settings.spec import make_spec

pytestmark = pytest.mark.usefixtures("shared_agents")

SIZES = {"num_envs": 64, "num_steps": 16, "total_timesteps": 64 * 16 * 16, "hidden_sizes": (32, 32)}


def size_of(path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_a_run_takes_about_what_was_said(tmp_path):
    always = Session(Console(quiet=True), checkpoint_seconds=0.0, checkpoint_share=1e9)  # after every segment
    spec = make_spec("gymnax/Pendulum-v1", num_seeds=8, num_evaluations=2, **SIZES)
    launch.run_to_folder(spec, tmp_path / "run", always)
    said = disk.estimate(spec, spec.agent())
    kept = size_of(tmp_path / "run" / "checkpoints")
    written = size_of(tmp_path / "run") - kept - (tmp_path / "run" / "curves.png").stat().st_size
    assert said.checkpoints / 3 < kept < said.checkpoints
    assert said.results / 3 < written < 3 * said.results


class Usage(NamedTuple):
    free: int


def test_what_does_not_fit_is_refused_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free=1000))
    spec = make_spec("gymnax/Pendulum-v1", num_seeds=2, **SIZES)
    with pytest.raises(
        SettingsError, match=r"0\.0 MiB are free.*; with --num-(seeds 1|steps 32|envs 32) it would take"
    ):
        launch.run_to_folder(spec, tmp_path / "run", Session(Console(quiet=True)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("updates", [2, 4000])
@pytest.mark.parametrize("width", [8, 512])
def test_what_is_named_really_halves_it(updates, width):
    sizes = SIZES | {"total_timesteps": 64 * 16 * updates, "hidden_sizes": (width, width)}
    spec = make_spec("gymnax/Pendulum-v1", num_seeds=4, **sizes)
    name, number = re.findall(r"with --([a-z-]+) (\d+)", disk._advice(spec))[0]
    other = {"num_seeds": 4, **sizes, name.replace("-", "_"): int(number)}
    less = make_spec("gymnax/Pendulum-v1", **other)
    assert sum(disk.estimate(less, less.agent())) <= 0.55 * sum(disk.estimate(spec, spec.agent()))


def test_checkpoints_that_are_there_are_not_counted_twice(tmp_path, monkeypatch):
    spec = make_spec("gymnax/Pendulum-v1", num_seeds=2, **SIZES)
    agent = spec.agent()
    needed = disk.estimate(spec, agent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free=sum(needed) - 5000))
    with pytest.raises(SettingsError, match="are free"):
        disk.check(spec, agent, tmp_path)
    (tmp_path / "checkpoints" / "7").mkdir(parents=True)
    (tmp_path / "checkpoints" / "7" / "arrays").write_bytes(bytes(5000))
    assert disk.check(spec, agent, tmp_path) == needed
