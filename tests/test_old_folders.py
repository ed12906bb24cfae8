"""Folders of every version load, evaluate, resume and export for ever.

`make_folders.py` makes those of this version. In each archive `finished` is a sweep of 2 settings and 2 seeds with
evaluations; all others were stopped after a quarter of their updates or a little more.
"""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax.cli.main import main
from rpo_jax.runs.choose import choose
from rpo_jax.runs.results import load_run, read_metrics
from rpo_jax.runs.settings import FORMAT, load_spec, read_initial
from rpo_jax.runs.summary import is_finished, read_summary

pytestmark = pytest.mark.usefixtures("shared_agents")

ARCHIVES = sorted((Path(__file__).parent / "data").glob("folders_*.zip"))


def folders(path: Path) -> list[str]:
    """The names of the folders in an archive."""
    with zipfile.ZipFile(path) as archive:
        return sorted({name.partition("/")[0] for name in archive.namelist() if "/" in name})


OLD = [pytest.param((path, name), id=f"{path.stem}-{name}") for path in ARCHIVES for name in folders(path)]


@pytest.fixture(params=OLD)
def old(request, tmp_path, monkeypatch) -> Path:
    """The folder, beside the others of its archive and the module of its names, which nothing has imported."""
    path, name = request.param
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    toys.forget_names(monkeypatch)
    return Path(name)


def parts(folder: Path) -> list[Path]:
    """The runs of a folder, those that have begun first."""
    return [folder / name for name in ("rpo", "ppo")] if (folder / "comparison.json").exists() else [folder]


def imports(folder: Path) -> list[str]:
    named = json.loads((parts(folder)[0] / "settings.json").read_text()).get("imports", [])
    return [argument for module in named for argument in ("--import", module)]


def assert_used(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every policy of a run is evaluated, and one is exported, to ONNX too unless its network is a user's."""
    assert main(["evaluate", str(run), "--num-episodes", "2", *imports(run)]) == 0
    capsys.readouterr()
    assert main(["export", str(run), *imports(run)]) == 0
    assert (run / "policy.stablehlo").exists()
    own = load_spec(run).network != "mlp"
    assert (run / "policy.onnx").exists() is not own
    assert ("no ONNX: Shared is a network of your own" in capsys.readouterr().out) is own


def test_it_is_read_evaluated_and_exported(old, capsys):
    run = parts(old)[0]
    if imports(old):
        assert main(["evaluate", str(run)]) == 2
        assert f"give {' '.join(imports(old))}" in capsys.readouterr().err
    assert_used(run, capsys)
    loaded, shape = load_run(run), (2, 2) if old.name == "finished" else (1, len(load_spec(run).seeds))
    metrics = read_metrics(run, loaded.spec)
    assert metrics["entropy"].shape[:2] == shape
    assert np.isfinite(metrics["policy_loss"]).all()
    for best in [False, True] if loaded.spec.num_evaluations else [False]:
        assert choose(run, load_run(run, best=best), best=best) in np.ndindex(shape)
    assert (loaded.spec.init_from or "").startswith("finished: seed ") == (old.name == "begun")
    assert (read_initial(run, loaded.agent) is not None) == (old.name == "begun")


def test_it_goes_on_from_its_checkpoint(old, capsys):
    if is_finished(old):
        assert main(["resume", str(old), *imports(old)]) == 0
        assert "finished: nothing is left to do" in capsys.readouterr().out
        return
    first, *rest = parts(old)
    before = (first / "metrics.csv").read_text().splitlines()
    done = int(before[-1].split(",")[2])
    assert main(["resume", str(old), *imports(old)]) == 0
    assert read_summary(first)["resumed_from"] == done
    assert set(before) <= set((first / "metrics.csv").read_text().splitlines())  # what was done was not done again
    for run in (first, *rest):
        assert is_finished(run)
        spec = load_run(run).spec
        losses = read_metrics(run, spec)["policy_loss"]
        assert losses.shape[-1] == spec.config.num_updates > done
        assert np.isfinite(losses).all()


def test_there_are_folders_of_this_version_of_every_kind():
    path = Path(__file__).parent / "data" / f"folders_{rpo_jax.__version__}_format_{FORMAT}.zip"
    assert folders(path) == ["begun", "compared", "finished", "own", "stopped"]
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("own/settings.json"))["version"] == rpo_jax.__version__
