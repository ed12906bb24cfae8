"""Shards of a sweep train as in the whole, and are joined to what the whole would have written."""

import dataclasses
import json
import re
import shlex
import shutil
from operator import itemgetter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jax
import numpy as np
import pandas as pd
import pytest
import toys
from hypothesis import given, settings

import rpo_jax
from rpo_jax import SettingsError
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.cli.main import main
from rpo_jax.cli.shards import parse_shard
from rpo_jax.files import DIGEST, digest_of, write_json
from rpo_jax.runs import launch
from rpo_jax.runs import merge as merging
from rpo_jax.runs.results import write_summary
from rpo_jax.runs.settings import describe, load_spec, sweep_digest
from rpo_jax.runs.shards import tell_shard
from rpo_jax.settings.shards import block, cut

pytestmark = pytest.mark.usefixtures("shared_agents")

COUNT = 4
SIZES = shlex.split(
    "--num-seeds 4 --first-seed 7 --num-envs 4 --num-steps 64 --num-minibatches 4 --total-timesteps 1280 "
    "--hidden-sizes 8 --no-compilation-cache"
)
TINY = ["gymnax/Pendulum-v1", *SIZES, "--rpo-alpha", "0.1", "0.5", *shlex.split("--num-evaluations 2")]
BOTH = ["gymnax/Pendulum-v1", *SIZES, "--variants", "rpo", "ppo"]
TIMES = {"compile_seconds", "train_seconds", "evaluate_seconds", "checkpoint_seconds", "env_steps_per_second"}
MEMORY = {"bytes_per_run"}  # of another program
EVALUATED = {"best_return", "final_evaluation"}  # of another number of policies at once: equal up to rounding


def train(out: Path, shard: str, *more: str) -> int:
    return main(["train", *TINY, "--shard", shard, "--out", str(out), *more])


def numbers(folder: Path) -> dict[str, object]:
    """The summary without what depends on the moment, and without evaluations."""
    summary = json.loads((folder / "summary.json").read_text())
    left_out = {*TIMES, *MEMORY, *EVALUATED, DIGEST, "files"}
    return {name: x for name, x in summary.items() if name not in left_out}


def assert_evaluations_close(folder: Path, other: Path) -> None:
    one, two = (pd.read_csv(path / "evaluations.csv") for path in (folder, other))
    pd.testing.assert_frame_equal(one, two, rtol=1e-4)
    summaries = [json.loads((path / "summary.json").read_text()) for path in (folder, other)]
    for name in EVALUATED:
        np.testing.assert_allclose(*(summary[name] for summary in summaries), rtol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of 2 settings x 4 seeds in four shards, and the whole beside it, trained as many runs at once."""
    path = tmp_path_factory.mktemp("shards")
    assert [train(path / "sweep", f"{index}/{COUNT}") for index in range(1, COUNT + 1)] == [0] * COUNT
    assert main(["train", *TINY, "--out", str(path / "whole"), "--runs-at-once", "2"]) == 0
    return path


@pytest.fixture
def sweep(trained: Path, tmp_path: Path) -> Path:
    """A copy of the shards."""
    return Path(shutil.copytree(trained / "sweep", tmp_path / "sweep"))


def shard(sweep: Path, index: int) -> Path:
    return sweep / f"shard-{index}-of-{COUNT}"


def rows_of(folder: Path, setting: int, seeds: list[int]) -> Any:
    """What the runs of a setting with these seeds measured, as text."""
    table = pd.read_csv(folder / "metrics.csv", dtype=str)
    own: Any = table[(table.setting == str(setting)) & table.seed.isin(map(str, seeds))]
    return own[["seed", "update", "step", *METRICS]].reset_index(drop=True)


def test_a_shard_is_an_ordinary_run_with_the_streams_of_the_whole(trained: Path) -> None:
    whole = rpo_jax.load_run(trained / "whole")
    for index, (setting, first) in enumerate([(0, 0), (0, 2), (1, 0), (1, 2)], start=1):
        folder = shard(trained / "sweep", index)
        part = rpo_jax.load_run(folder)
        assert part.spec.seeds == [7 + first, 8 + first]
        assert str(part.spec.shard) == f"{index}/{COUNT}"
        own = jax.tree.map(itemgetter((slice(setting, setting + 1), slice(first, first + 2))), whole.policy)
        jax.tree.map(np.testing.assert_array_equal, part.policy, own)
        rows = rows_of(folder, 0, part.spec.seeds)
        assert len(rows) == 2 * 5
        pd.testing.assert_frame_equal(rows, rows_of(trained / "whole", setting, part.spec.seeds))


def test_what_is_merged_equals_the_whole_file_by_file(
    sweep: Path, trained: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(sweep)]) == 0
    whole = trained / "whole"
    files = {path.name for path in whole.iterdir() if path.is_file()}
    assert files == {path.name for path in sweep.iterdir() if path.is_file()}
    for name in files - {"summary.json", "evaluations.csv"}:
        assert (sweep / name).read_bytes() == (whole / name).read_bytes(), name
    assert numbers(sweep) == numbers(whole)
    assert_evaluations_close(sweep, whole)
    assert {path.name for path in sweep.iterdir()} - files == {shard(sweep, index).name for index in range(1, 5)}
    parts = [json.loads((shard(sweep, index) / "summary.json").read_text()) for index in range(1, 5)]
    total = json.loads((sweep / "summary.json").read_text())
    assert total["train_seconds"] == pytest.approx(sum(part["train_seconds"] for part in parts))
    assert main(["evaluate", str(sweep), "--num-episodes", "2"]) == 0
    assert main(["resume", str(sweep)]) == 0  # it is finished
    before = {path: path.stat().st_mtime_ns for path in sweep.iterdir()}
    capfd.readouterr()
    assert main(["merge", str(sweep)]) == 0  # and merged: a job that is queued again succeeds
    assert "2 of 8 runs in a call" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in sweep.iterdir()} == before
    (sweep / "metrics.csv").write_text("damaged")
    assert main(["merge", str(sweep)]) == 2
    assert "already holds a run" in capfd.readouterr().err


def test_the_picture_is_that_of_the_whole(sweep: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr("rpo_jax.runs.launch.draw", lambda curves, title, path: drawn.update({title: curves}))
    assert main(["merge", str(sweep)]) == 0
    ((title, curves),) = drawn.items()
    assert title == "rpo on gymnax/Pendulum-v1, 4 seeds"
    whole = load_spec(trained / "whole")
    np.testing.assert_equal(curves, launch.read_curves(trained / "whole", whole))


def test_what_is_not_there_whole_is_told_and_nothing_is_written(
    sweep: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(shard(sweep, 1), tmp_path / "twice")
    shutil.rmtree(shard(sweep, 2))
    (shard(sweep, 3) / "summary.json").unlink()
    before = sorted(sweep.iterdir())
    assert main(["merge", str(sweep), str(tmp_path / "twice"), "--out", str(tmp_path / "new")]) == 2
    told = capfd.readouterr().err
    assert f"{shard(sweep, 3)} is not finished: rpo-jax resume {shard(sweep, 3)}" in told
    assert f"shard 1/4 is there twice: {shard(sweep, 1)} and {tmp_path / 'twice'}" in told
    assert "missing, to be trained with --shard 2/4" in told
    assert "3/4" not in told
    assert told.count("\n") == 1
    assert "Traceback" not in told
    assert sorted(sweep.iterdir()) == before
    assert not (tmp_path / "new").exists()


def test_a_shard_that_was_lost_is_trained_again_alone(sweep: Path, trained: Path) -> None:
    shutil.rmtree(shard(sweep, 2))
    assert main(["merge", str(sweep)]) == 2
    assert train(sweep, "2/4") == 0
    assert main(["merge", str(sweep)]) == 0
    assert (sweep / "policies.npz").read_bytes() == (trained / "whole" / "policies.npz").read_bytes()


@pytest.mark.parametrize(
    ("place", "part"),
    [
        ((3, 4), "shard 3 of 4: rpo_alpha=0.5, seeds 7 to 8"),
        ((2, 8), "shard 2 of 8: rpo_alpha=0.1, seed 8"),
        ((1, 1), "shard 1 of 1: 2 settings, rpo_alpha=0.1 to rpo_alpha=0.5, seeds 7 to 10"),
    ],
)
def test_a_shard_tells_which_part_it_is(place: tuple[int, int], part: str, trained: Path) -> None:
    whole = load_spec(trained / "whole")
    assert tell_shard([whole], [rpo_jax.shard_spec(whole, *place)]) == part


def test_a_shard_of_a_comparison_tells_what_each_method_trains(trained: Path) -> None:
    rpo = load_spec(trained / "whole")
    ppo = dataclasses.replace(rpo, variant="ppo", hyperparams=jax.tree.map(itemgetter(slice(1)), rpo.hyperparams))
    parts = [rpo_jax.shard_spec(spec, 2, 4) for spec in (rpo, ppo)]
    assert tell_shard([rpo, ppo], parts) == "shard 2 of 4: rpo with rpo_alpha=0.1, seeds 9 to 10; ppo with seed 8"
    assert tell_shard([rpo, rpo], parts[:1] * 2) == "shard 2 of 4: rpo_alpha=0.1, seeds 9 to 10"


def test_a_shard_that_is_there_is_gone_on_with(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train(sweep, "3/4") == 2
    assert "is finished: nothing is left to do" in capfd.readouterr().err
    (shard(sweep, 3) / "summary.json").unlink()
    assert train(sweep, "3/4") == 2
    assert f"go on with it: rpo-jax resume {shard(sweep, 3)}" in capfd.readouterr().err
    assert main(["resume", str(shard(sweep, 3))]) == 0
    assert f"once all shards are trained: rpo-jax merge {sweep}" in capfd.readouterr().out
    assert main(["merge", str(sweep)]) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_steps": 32}, "other num_steps"),
        ({"first_seed": 8}, "other hyperparameters or seeds"),
        ({"learning_rate": 1e-3}, "other hyperparameters or seeds"),
        ({"env": "gymnax/MountainCarContinuous-v0"}, "other env"),
    ],
)
def test_shards_of_another_sweep_are_refused(
    change: dict[str, Any], words: str, sweep: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec, foreign = load_spec(shard(sweep, 1)), shard(sweep, 2)
    described = json.loads((foreign / "settings.json").read_text())
    own = {"env": spec.env, "num_seeds": 4, "first_seed": 7, "rpo_alpha": [0.1, 0.5], **vars(spec.config)} | change
    other = rpo_jax.make_spec(**own, num_evaluations=2)  # its digest, in a shard that is finished otherwise
    described["shard"]["sweep"] = sweep_digest(describe(other))
    described |= {name: x for name, x in change.items() if name in described}
    described["config"] |= {name: x for name, x in change.items() if name in described["config"]}
    rewrite(foreign, described)
    assert main(["merge", str(sweep)]) == 2
    told = capfd.readouterr().err
    assert f"{foreign} is of another sweep than {shard(sweep, 1)}: {words}" in told
    assert "missing" in told


def rewrite(folder: Path, described: dict[str, Any]) -> None:
    """Gives a shard other settings, as if it had been trained with them."""
    write_json(folder / "settings.json", described | {DIGEST: digest_of(described)})
    write_summary(folder, json.loads((folder / "summary.json").read_text()))


def test_shards_that_make_up_nothing_are_refused(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    described = json.loads((shard(sweep, 4) / "settings.json").read_text())
    rewrite(shard(sweep, 4), described | {"seeds": [19, 20]})
    assert main(["merge", str(sweep)]) == 2
    assert "do not make up the sweep" in capfd.readouterr().err
    assert not (sweep / ".merging").exists()
    assert not (sweep / "settings.json").exists()


def test_other_versions_are_told_and_kept(sweep: Path) -> None:
    summary = json.loads((shard(sweep, 2) / "summary.json").read_text())
    summary["versions"]["jax"] = "0.0.1"
    write_summary(shard(sweep, 2), summary)
    with toys.told(f"shards were trained with jax {jax.__version__} and 0.0.1"):
        assert main(["merge", str(sweep)]) == 0
    joined = json.loads((sweep / "summary.json").read_text())
    assert joined["versions"]["jax"] == f"{jax.__version__} and 0.0.1"


def test_a_fault_is_that_of_its_run_in_the_sweep(sweep: Path) -> None:
    summary = json.loads((shard(sweep, 4) / "summary.json").read_text())
    summary["faults"] = [{"run": "seed 10", "setting": 0, "seed": 10, "update": 3, "what": "gradient"}]
    summary["final_return"] = [[-1.0, None]]
    write_summary(shard(sweep, 4), summary)
    assert main(["merge", str(sweep)]) == 0
    joined = json.loads((sweep / "summary.json").read_text())
    assert joined["faults"] == [
        {"run": "seed 10 of rpo_alpha=0.5", "setting": 1, "seed": 10, "update": 3, "what": "gradient"}
    ]
    assert joined["final_return"][1][2:] == [-1.0, None]
    assert joined["return_interval"][1] is None


def test_a_merge_that_is_interrupted_leaves_nothing(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merging, "read_curves", interrupt)
        assert main(["merge", str(sweep)]) == 130
    assert {path.name for path in sweep.iterdir()} == {shard(sweep, index).name for index in range(1, 5)}
    assert main(["merge", str(sweep)]) == 0


def test_a_merge_that_was_killed_is_gone_on_with(
    sweep: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    replace, moved = Path.replace, []

    def replace_some(self: Path, target: Path) -> Path:
        if self.parent.name == ".merged":
            moved.append(self)
            if len(moved) == 3:
                raise OSError("killed")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_some)
        assert main(["merge", str(sweep)]) == 2
    assert main(["resume", str(sweep)]) == 2
    assert "holds no run" in capfd.readouterr().err
    (sweep / ".merging").mkdir()  # and one that was killed while it wrote
    assert main(["merge", str(sweep)]) == 0
    assert numbers(sweep) == numbers(trained / "whole")
    assert not (sweep / ".merged").exists()


def test_a_sweep_that_is_not_merged_says_what_to_do(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["resume"], ["evaluate"], ["play"], ["export"]):
        assert main([*words, str(sweep)]) == 2
        assert f"it holds shards, which rpo-jax merge {sweep} joins" in capfd.readouterr().err


def test_a_comparison_is_cut_and_merged_likewise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    monkeypatch.setattr("rpo_jax.runs.launch.draw", lambda *_: None)
    for module in ("compare", "merge"):
        monkeypatch.setattr(
            f"rpo_jax.runs.{module}.draw", lambda curves, title, path: drawn.update({path.name: (curves, title)})
        )
    for index in (1, 2):
        assert main(["compare", *BOTH, "--shard", f"{index}/2", "--out", str(tmp_path / "both")]) == 0
    assert main(["merge", str(tmp_path / "both")]) == 0
    assert main(["compare", *BOTH, "--out", str(tmp_path / "whole"), "--runs-at-once", "2"]) == 0
    for name in ("rpo", "ppo"):
        assert numbers(tmp_path / "both" / name) == numbers(tmp_path / "whole" / name)
        for file in ("settings.json", "metrics.csv", "policies.npz"):
            parts = [tmp_path / out / name / file for out in ("both", "whole")]
            assert parts[0].read_bytes() == parts[1].read_bytes()
    summaries = [json.loads((tmp_path / out / "comparison.json").read_text()) for out in ("both", "whole")]
    assert [[one["variant"] for one in some] for some in summaries] == [["rpo", "ppo"]] * 2
    assert summaries[0][0]["final_return"] == summaries[1][0]["final_return"]
    assert drawn[".merging"][1] == drawn["whole"][1]
    assert drawn[".merging"][0].keys() == drawn["whole"][0].keys() == {"rpo", "ppo"}
    assert main(["evaluate", str(tmp_path / "both"), "--num-episodes", "2"]) == 0


def test_python_cuts_and_saves_shards_too(trained: Path, tmp_path: Path) -> None:
    spec = dataclasses.replace(load_spec(trained / "whole"), num_evaluations=0)
    folders = [str(tmp_path / str(index)) for index in range(1, COUNT + 1)]
    for index, folder in enumerate(folders, start=1):
        part = rpo_jax.shard_spec(spec, index, COUNT)
        rpo_jax.save_run(folder, part, rpo_jax.fit(part.agent(), part.hyperparams, part.keys()))
    assert main(["merge", *folders, "--out", str(tmp_path / "whole")]) == 0
    assert (tmp_path / "whole" / "policies.npz").read_bytes() == (trained / "whole" / "policies.npz").read_bytes()
    assert load_spec(tmp_path / "whole").shard is None
    with pytest.raises(SettingsError, match="is shard 2/4 of a sweep already"):
        rpo_jax.shard_spec(load_spec(tmp_path / "2"), 1, 1)
    with pytest.raises(SettingsError, match="out of range"):
        rpo_jax.shard_spec(spec, 3, 2)


@pytest.mark.parametrize(
    ("sizes", "blocks"),
    [
        ((1, 8, 4), (1, 4)),
        ((8, 1, 4), (4, 1)),
        ((2, 4, 4), (2, 2)),  # as small as by four blocks of seeds, which are cut less here
        ((6, 8, 16), (2, 8)),
        ((4, 3, 12), (4, 3)),
        ((5, 4, 10), (5, 2)),
    ],
)
def test_the_largest_shard_is_as_small_as_possible(sizes: tuple[int, int, int], blocks: tuple[int, int]) -> None:
    assert cut(*sizes) == blocks


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 150))
def test_shards_cover_every_run_once_or_near_counts_are_told(num_settings: int, num_seeds: int, count: int) -> None:
    try:
        rows, columns = cut(num_settings, num_seeds, count)
    except SettingsError as error:
        near = [int(number) for number in re.findall(r"\d+", str(error).rpartition("near it are")[2])]
        assert near
        assert count not in near
        for other in near:
            cut(num_settings, num_seeds, other)
        return
    parts = [
        (h, s)
        for row in range(rows)
        for column in range(columns)
        for h in range(num_settings)[block(num_settings, rows, row)]
        for s in range(num_seeds)[block(num_seeds, columns, column)]
    ]
    assert rows * columns == count
    assert sorted(parts) == [(h, s) for h in range(num_settings) for s in range(num_seeds)]


SLURM = {"ID": "14", "MIN": "8", "STEP": "2", "COUNT": "4", "MAX": "14"}


def scheduler(monkeypatch: pytest.MonkeyPatch, slurm: dict[str, str], **more: str) -> None:
    for name in SLURM:
        monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    for name, value in ({f"SLURM_ARRAY_TASK_{name}": value for name, value in slurm.items()} | more).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("text", "slurm", "more", "expected"),
    [
        ("3/16", {}, {}, (3, 16)),
        ("auto", SLURM, {}, (4, 4)),
        ("auto/4", SLURM, {}, (4, 4)),
        ("auto", {"ID": "0", "MIN": "0", "COUNT": "16"}, {}, (1, 16)),
        ("auto/16", {"ID": "5", "MIN": "1"}, {}, (5, 16)),  # no count is told
        ("auto/16", {}, {"JOB_COMPLETION_INDEX": "0"}, (1, 16)),
        ("auto/16", {}, {"JOB_COMPLETION_INDEX": "15"}, (16, 16)),
    ],
)
def test_the_scheduler_tells_which_shard_it_is(
    text: str,
    slurm: dict[str, str],
    more: dict[str, str],
    expected: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler(monkeypatch, slurm, **more)
    assert parse_shard(text) == expected


@pytest.mark.parametrize(
    ("text", "slurm", "more", "words"),
    [
        ("0/4", {}, {}, "out of range"),
        ("5/4", {}, {}, "out of range"),
        ("3", {}, {}, "not understood"),
        ("-1/4", {}, {}, "not understood"),
        ("auto/", {}, {}, "not understood"),
        ("auto", {}, {}, "needs SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX"),
        ("auto", {}, {"JOB_COMPLETION_INDEX": "3"}, "give --shard auto/N"),
        ("auto/3", {}, {"JOB_COMPLETION_INDEX": "3"}, "shard 4 of 3"),
        ("auto/4", {}, {"JOB_COMPLETION_INDEX": "x"}, "whole number in JOB_COMPLETION_INDEX, which is 'x'"),
        ("auto", {"ID": "3", "COUNT": "4"}, {}, "SLURM_ARRAY_TASK_MIN"),
        ("auto/16", {**SLURM, "COUNT": "1"}, {}, "disagrees with SLURM_ARRAY_TASK_COUNT=1"),
        ("auto", {**SLURM, "ID": "13"}, {}, "steps of 2"),
        ("auto", {**SLURM, "ID": "16"}, {}, "out of range"),
        ("auto", {**SLURM, "ID": "6"}, {}, "out of range"),
    ],
)
def test_a_shard_that_cannot_be_is_refused(
    text: str, slurm: dict[str, str], more: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler(monkeypatch, slurm, **more)
    with pytest.raises(SettingsError, match=re.escape(words)):
        parse_shard(text)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", *TINY, "--shard", "1/4"], "--shard needs --out"),
        (["train", *TINY, "--shard", "1/4", "--stop-at-return", "0"], "--shard needs --out"),
        (["train", *TINY, "--shard", "1/4", "--stop-at-return", "0", "--out", "x"], "cannot be used with --shard"),
        (
            ["train", *TINY, "--shard", "1/7", "--out", "x"],
            "cannot be cut into 7 shards, as rectangles; near it are 6 and 8",
        ),
        (["compare", *BOTH, "--shard", "1/5", "--out", "x"], "1 settings x 4 seeds cannot be cut into 5"),
        (["merge"], "give one folder"),
        (["merge", "x"], "give one folder"),
        (["merge", "x", "--out", "y"], "x holds no run"),
    ],
)
def test_what_cannot_be_cut_or_merged_is_refused(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert told in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_folder_of_another_sweep_is_refused(sweep: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(shard(sweep, 2))
    for more in (["2/4", "--learning-rate", "1e-3"], ["1/2"]):
        assert train(sweep, *more) == 2
        assert "shards of another sweep" in capfd.readouterr().err
    assert not shard(sweep, 2).exists()


def test_a_run_is_no_shard(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(trained / "whole"), "--out", str(tmp_path / "new")]) == 2
    assert "is no shard of a sweep" in capfd.readouterr().err
    assert not (tmp_path / "new").exists()
