"""Whatever happens to a file of a run folder: it is refused, or what comes of it is what would have come."""

import dataclasses
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jax
import numpy as np
import pandas as pd
import pytest
import toys
from hypothesis import HealthCheck, given, settings
from rich.console import Console
from test_checkpoints import damage, stopped_after

from rpo_jax import SettingsError, make_spec
from rpo_jax.files import digest_of, write_json
from rpo_jax.runs import launch, resume
from rpo_jax.runs.choose import choose
from rpo_jax.runs.results import load_run, read_evaluations, read_metrics
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import load_spec
from rpo_jax.runs.summary import is_finished, read_summary

pytestmark = pytest.mark.usefixtures("shared_agents")

SILENT = Session(Console(quiet=True))
SPEC = make_spec(
    "gymnax/Pendulum-v1",
    num_seeds=2,
    rpo_alpha=[0.1, 0.5],
    num_evaluations=3,
    evaluation_episodes=2,
    num_envs=4,
    num_steps=8,
    num_minibatches=4,
    total_timesteps=4 * 8 * 40,
    hidden_sizes=(8,),
)
RESULTS = ("metrics.csv", "policies.npz", "evaluations.csv", "best.npz")


READERS: dict[str, Callable[[Path], Any]] = {
    "policy": lambda path: load_run(path).policy,
    "clip": lambda path: load_run(path).spec.hyperparams.observation_clip,
    "best": lambda path: load_run(path, best=True).policy,
    "chosen": lambda path: choose(path, load_run(path)),
    "metrics": lambda path: read_metrics(path, load_spec(path)),
    "evaluations": lambda path: read_evaluations(path, load_spec(path)),
}


@functools.cache
def read(name: str, path: Path) -> Any:
    """What a reader finds where nothing is damaged."""
    return READERS[name](path)


def same(found: Any, expected: Any) -> bool:
    equal = jax.tree.map(lambda x, y: np.array_equal(x, y, equal_nan=True), found, expected)
    return all(jax.tree.leaves(equal))


def results(path: Path) -> list[Any]:
    """The result files, but for the times at which archives were written."""

    def content(file: Path) -> Any:
        if file.suffix != ".npz":
            return file.read_bytes()
        with np.load(file) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}

    return [content(path / name) for name in RESULTS]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    launch.run_to_folder(SPEC, path, SILENT)
    return path


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("stopped") / "run"
    often = SILENT._replace(on_progress=stopped_after(25), checkpoint_seconds=0.0, checkpoint_share=1.0)
    with toys.told("stop immediately"):
        launch.run_to_folder(SPEC, path, often)
    assert not is_finished(path)
    return path


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)


def resumed(path: Path) -> None:
    resume.resume(resume.unfinished(path), path, SILENT)


@given(data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_finished_run_is_refused_or_read_right(finished, tmp_path_factory, data):
    path = shutil.copytree(finished, tmp_path_factory.mktemp("damaged") / "run")
    damage(data, data.draw(st.sampled_from([file for file in files(path) if file.parent == path])))
    for name, reader in READERS.items():
        try:
            found = reader(path)
        except SettingsError:
            continue
        assert same(found, read(name, finished)), name


@pytest.mark.parametrize("name", [*RESULTS, "summary.json"])
def test_damaged_results_are_made_anew_by_a_resume(finished, tmp_path, name):
    path = shutil.copytree(finished, tmp_path / "run")
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    resumed(path)
    assert results(path) == results(finished)
    assert resume.unfinished(path) == []


def test_the_best_of_evaluations_is_chosen_by_them(finished, tmp_path):
    path = shutil.copytree(finished, tmp_path / "run")
    table: Any = pd.read_csv(path / "evaluations.csv")
    means = table.groupby(["setting", "seed"])["return_mean"].max()
    setting, seed = means.idxmax()
    assert choose(path, load_run(path, best=True), best=True) == (setting, SPEC.seeds.index(seed))
    summary = read_summary(path)
    np.testing.assert_allclose(np.ravel(summary["best_return"]), means, rtol=1e-6)
    summary["best_return"] = (-np.array(summary["best_return"])).tolist()  # so that another is the best
    write_json(path / "summary.json", summary | {"digest": digest_of(summary)})
    setting, seed = means.idxmin()
    assert choose(path, load_run(path, best=True), best=True) == (setting, SPEC.seeds.index(seed))


def test_results_of_another_run_are_refused(finished, tmp_path):
    other, path = tmp_path / "other", shutil.copytree(finished, tmp_path / "run")
    launch.run_to_folder(dataclasses.replace(SPEC, seeds=[5, 6]), other, SILENT)
    shutil.copy(other / "policies.npz", path / "policies.npz")
    with pytest.raises(SettingsError, match=r"policies\.npz is damaged, or was changed"):
        load_run(path)
    shutil.copy(other / "summary.json", path / "summary.json")
    with pytest.raises(SettingsError, match=r"settings\.json is damaged, or was changed"):
        load_run(path)


@given(data=st.data())
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_stopped_run_is_refused_or_goes_on_right(finished, stopped, tmp_path_factory, data):
    path = shutil.copytree(stopped, tmp_path_factory.mktemp("damaged") / "run")
    for _ in range(data.draw(st.integers(1, 3))):
        damage(data, data.draw(st.sampled_from(files(path))))
    try:
        resumed(path)
    except SettingsError:
        return
    assert results(path) == results(finished)
    assert json.loads((path / "summary.json").read_text())["interrupted"] is False


def test_a_comparison_that_lost_the_settings_of_a_part_is_no_smaller_one(finished, tmp_path):
    for name in ("ppo", "rpo"):
        shutil.copytree(finished, tmp_path / name)
    assert resume.unfinished(tmp_path) == []
    (tmp_path / "ppo" / "settings.json").unlink()
    with pytest.raises(SettingsError, match=r"ppo holds no run: there is no settings\.json"):
        resumed(tmp_path)
