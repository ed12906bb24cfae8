"""Folders of earlier versions load, evaluate, resume and export for ever."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from rpo_jax.cli.main import main
from rpo_jax.runs.choose import choose
from rpo_jax.runs.results import load_run, read_metrics
from rpo_jax.runs.summary import is_finished

ARCHIVES = sorted((Path(__file__).parent / "data").glob("folders_*.zip"))


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.stem)
def old(request, tmp_path) -> Path:
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_a_finished_sweep_is_read_evaluated_and_exported(old, capsys):
    folder = old / "finished"
    for best in (False, True):
        run = load_run(folder, best=best)
        assert choose(folder, run, best=best) in np.ndindex(2, 2)
    metrics = read_metrics(folder, run.spec)
    assert metrics["entropy"].shape == (2, 2, run.spec.config.num_updates)
    assert np.isfinite(metrics["policy_loss"]).all()
    assert main(["evaluate", str(folder), "--num-episodes", "2"]) == 0
    assert main(["export", str(folder)]) == 0
    assert (folder / "policy.stablehlo").exists()
    assert main(["resume", str(folder)]) == 2
    assert "finished: nothing is left to do" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["stopped", "compared"])
def test_what_was_stopped_goes_on_from_its_checkpoint(old, name):
    folder = old / name
    first = folder / ("rpo" if name == "compared" else ".")
    before = (first / "metrics.csv").read_text().splitlines()
    rows = [line for line in before if line.startswith("0,0,")]
    assert 0 < len(rows) < 20
    assert main(["resume", str(folder)]) == 0
    after = (first / "metrics.csv").read_text().splitlines()
    assert set(before) <= set(after)  # what was done was not done again
    for part in [folder / "rpo", folder / "ppo"] if name == "compared" else [folder]:
        assert is_finished(part)
        assert np.isfinite(read_metrics(part, load_run(part).spec)["policy_loss"]).all()
