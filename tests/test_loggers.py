"""Loggers: what they write, read back by others' readers, is what the run's own table says."""

import dataclasses
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rpo_jax
from rpo_jax import SettingsError, fit, grid, make_logger, make_spec, seeds
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.cli.main import main
from rpo_jax.execution.fit import Progress
from rpo_jax.loggers import LOGGERS, points
from rpo_jax.loggers.points import Logger, Point
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.settings import write_settings
from rpo_jax.settings.spec import RunSpec

pytestmark = pytest.mark.usefixtures("shared_agents")

TINY = shlex.split(
    "gymnax/Pendulum-v1 --preset paper --num-seeds 2 --first-seed 7 --total-timesteps 4096 --num-steps 128 "
    "--num-epochs 2 --num-minibatches 4 --hidden-sizes 8 8 --no-compilation-cache"
)
ALPHAS, SEEDS, STEPS, UPDATES, BONUS = (0.1, 0.5), (7, 8), 128, 32, 0.01
FILES = ("tensorboard", "csv", "parquet")


@pytest.fixture(autouse=True, scope="module")
def _offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        yield


def tiny_spec(num_seeds: int = 2, **settings: Any) -> RunSpec:
    return make_spec("gymnax/Pendulum-v1", "rpo", "paper", num_seeds=num_seeds, first_seed=SEEDS[0], **settings)


SIZES: dict[str, Any] = {"num_epochs": 2, "num_minibatches": 4, "hidden_sizes": (8, 8)}  # as `TINY`
SPEC = tiny_spec(rpo_alpha=ALPHAS, num_steps=STEPS, total_timesteps=STEPS * UPDATES, **SIZES)
AT_ONCE = ["--runs-at-once", str(len(SEEDS))]  # as many as of a single setting: its program is compiled already


def reports(*ends: int, begin: int = 0, seed: int = 0) -> Iterator[Progress]:
    """Made-up reports of two settings and two seeds, that end with these updates; a third of them NaN."""
    random = np.random.default_rng(seed)
    for end in ends:
        shape = (2, 2, end - begin)
        metrics = {name: random.normal(size=shape).astype(np.float32) for name in METRICS}
        metrics["episode_return"][random.uniform(size=shape) < 1 / 3] = np.nan
        yield Progress(end, 0.1 * end, metrics)
        begin = end


class Kept:
    """A sink that keeps its points."""

    def __init__(self):
        self.points: list[Point] = []
        self.closed = 0

    def begin(self, point: Point) -> None:
        assert not self.points

    def write(self, point: Point) -> None:
        self.points.append(point)

    def close(self) -> None:
        self.closed += 1


# Readers


def read_csv(path: Path) -> Any:
    return pd.read_csv(path)


def event_curve(folder: Path, tag: str) -> Any:
    """Values by step."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    if tag not in events.Tags()["scalars"]:
        return pd.Series(dtype=float)
    scalars = events.Scalars(tag)
    return pd.Series([scalar.value for scalar in scalars], index=[scalar.step for scalar in scalars])


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of W&B's own file: LevelDB's log after seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    content, offset, whole = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while offset < len(content):
        if 32768 - offset % 32768 < 7:
            offset += 32768 - offset % 32768
            continue
        length, kind = struct.unpack("<HB", content[offset + 4 : offset + 7])
        whole += content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def wandb_rows(path: Path) -> Any:
    """What was logged, by step."""
    histories = [record.history for record in wandb_records(path) if record.HasField("history")]
    rows = [{item.key or item.nested_key[0]: json.loads(item.value_json) for item in x.item} for x in histories]
    return pd.DataFrame(rows, index=[x.step.num for x in histories])


def wandb_config(path: Path) -> dict[str, Any]:
    (run,) = (record.run for record in wandb_records(path) if record.HasField("run"))
    return {item.key: json.loads(item.value_json) for item in run.config.update}


# The command


def a_point_every(number: int, patch: pytest.MonkeyPatch) -> None:
    """Sets the clock by reports: so many make a point, the first one alone."""
    now, show = [0.0], ProgressBar.__call__

    def tick(self: Any, progress: Progress) -> None:
        now[0] += points.SECONDS / number
        show(self, progress)

    patch.setattr(ProgressBar, "__call__", tick)
    patch.setattr(points, "time", types.SimpleNamespace(monotonic=lambda: now[0]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder that the command has filled, with every logger; the clock makes points of several updates."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = ["--rpo-alpha", *map(str, ALPHAS), "--entropy-coefficient", str(BONUS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rpo_jax.execution.fit.MAX_SEGMENT", 2)
        a_point_every(2, patch)
        assert main(["train", *TINY, *settings, "--out", str(folder), *AT_ONCE, "--logger", *LOGGERS]) == 0
    return folder


def expected_rows(folder: Path, updates: list[int]) -> Any:
    """Means of the run's own table over the updates up to each of these."""
    table = read_csv(folder / "metrics.csv")
    table["update"] = [min(end for end in updates if end >= update) for update in table["update"]]
    rows = table.groupby(["update", "setting", "seed"]).mean().reset_index()
    rows["step"] = STEPS * rows["update"]
    rows[points.EVALUATED] = np.nan
    return rows


@pytest.mark.parametrize(
    ("name", "read"), [("log.csv", read_csv), ("log.parquet", pd.read_parquet)], ids=["csv", "parquet"]
)
def test_tables_hold_means_of_the_runs_own(trained, name, read):
    table = read(trained / name)
    assert list(table.columns) == ["setting", "seed", "update", "step", *METRICS, points.EVALUATED]
    updates = sorted(set(table["update"]))
    assert updates[-1] == UPDATES
    assert 2 < len(updates) < UPDATES / 2
    expected = expected_rows(trained, updates)[table.columns]
    assert expected["episode_return"].isna().any()
    assert expected["episode_return"].notna().any()
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, rtol=1e-5)


def as_tags(rows: Any) -> dict[str, Any]:
    """What is drawn of rows by step: a few by their own names, and the notes' three."""
    return {
        "loss/policy": rows["policy_loss"] - BONUS * rows["entropy"],
        "loss/value": 2 * rows["value_loss"],
        "stats/returns": rows["round_reward"],
        "rollout/episode_return": rows["episode_return"],
        "update/entropy": rows["entropy"],
        "update/policy_loss": rows["policy_loss"],
    }


def assert_curve(found: Any, expected: Any) -> None:
    expected = expected.dropna()
    assert found.index.tolist() == expected.index.tolist()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_tensorboard_has_a_curve_of_every_seed(trained):
    table = read_csv(trained / "log.csv")
    for setting, alpha in enumerate(ALPHAS):
        for seed in SEEDS:
            own = table[(table["setting"] == setting) & (table["seed"] == seed)].set_index("step")
            for tag, expected in as_tags(own).items():
                assert_curve(event_curve(trained / f"tensorboard/rpo_alpha={alpha}/seed={seed}", tag), expected)


def test_tensorboard_has_curves_over_the_seeds(trained):
    table = read_csv(trained / "log.csv")
    for setting, alpha in enumerate(ALPHAS):
        own = table[table["setting"] == setting]
        tag_metrics = pd.DataFrame(as_tags(own) | {"step": own["step"]}).groupby("step")
        for name in ("mean", "min", "max"):
            for tag, expected in tag_metrics.agg(name).items():
                assert_curve(event_curve(trained / f"tensorboard/rpo_alpha={alpha}/{name}", str(tag)), expected)


def test_every_metric_has_a_tag(trained):
    events = EventAccumulator(str(trained / "tensorboard/rpo_alpha=0.5/mean")).Reload()
    names = [tag.partition("/")[2] for tag in events.Tags()["scalars"] if tag.startswith(("rollout/", "update/"))]
    assert sorted(names) == sorted(METRICS)


def test_wandb_offline_has_a_run_of_every_seed(trained):
    table = read_csv(trained / "log.csv")
    files = list(trained.glob("wandb/offline-run-*/*.wandb"))
    configs = {path: wandb_config(path) for path in files}
    of_runs = {(config["rpo_alpha"], config["seed"]) for config in configs.values()}
    assert len(files) == len(of_runs)
    assert of_runs == {(alpha, seed) for alpha in ALPHAS for seed in SEEDS}
    for path, config in configs.items():
        assert (config["env"], config["variant"], config["num_steps"]) == ("gymnax/Pendulum-v1", "rpo", STEPS)
        setting = ALPHAS.index(config["rpo_alpha"])
        own = table[(table["setting"] == setting) & (table["seed"] == config["seed"])].set_index("step")
        rows = wandb_rows(path)
        for tag, expected in as_tags(own).items():
            assert_curve(rows[tag].dropna(), expected)


def test_a_run_that_is_resumed_goes_on_in_the_same_curves(tmp_path, monkeypatch, capsys):
    a_point_every(1, monkeypatch)
    folder, show = tmp_path / "run", ProgressBar.__call__

    def interrupt(self: Any, progress: Progress) -> None:
        show(self, progress)
        if progress.updates > 4:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, toys.told("repeat the signal to stop immediately"):
        patch.setattr(ProgressBar, "__call__", interrupt)
        assert main(["train", *TINY, "--out", str(folder), "--logger", *LOGGERS]) == 130
    done = read_csv(folder / "log.csv")["update"].max()
    assert 4 < done < UPDATES
    time.sleep(1)  # W&B names a folder by the second
    assert main(["resume", str(folder), "--no-compilation-cache", "--logger", *LOGGERS]) == 0
    table = read_csv(folder / "log.csv")
    updates = sorted(set(table["update"]))
    assert done in updates[:-1]
    pd.testing.assert_frame_equal(table, expected_rows(folder, updates)[table.columns], check_dtype=False, rtol=1e-5)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "log.parquet"), table, check_dtype=False, rtol=1e-5)
    for seed in SEEDS:
        own = table[table["seed"] == seed].set_index("step")
        assert_curve(event_curve(folder / f"tensorboard/seed={seed}", "update/entropy"), own["entropy"])
        halves = [wandb_rows(path) for path in sorted(folder.glob(f"wandb/offline-run-*-0-{seed}/*.wandb"))]
        assert len(halves) == 2
        assert_curve(pd.concat(halves)["update/entropy"], own["entropy"])
    assert len({path.stem for path in folder.glob("wandb/offline-run-*/*.wandb")}) == len(SEEDS)  # ids


def test_compare_logs_each_variant_in_its_folder(tmp_path):
    assert main(["compare", *TINY, "--out", str(tmp_path), "--logger", "tensorboard"]) == 0
    curves = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("events.out.tfevents.*")}
    assert curves == {
        f"{variant}/tensorboard/{curve}"
        for variant in ("rpo", "ppo")
        for curve in ("seed=7", "seed=8", "mean", "min", "max")
    }


def test_evaluations_have_points_at_their_own_updates(tmp_path):
    assert main(["train", *TINY, "--num-evaluations", "3", "--out", str(tmp_path), "--logger", *FILES]) == 0
    expected = pd.read_csv(tmp_path / "evaluations.csv").sort_values(["update", "seed"])
    for table in (read_csv(tmp_path / "log.csv"), pd.read_parquet(tmp_path / "log.parquet")):
        known = table.dropna(subset=[points.EVALUATED])
        assert known[["update", "seed"]].values.tolist() == expected[["update", "seed"]].values.tolist()
        np.testing.assert_allclose(known[points.EVALUATED], expected["return_mean"], rtol=1e-5)
    for seed in SEEDS:
        own = expected[expected["seed"] == seed].set_index("step")["return_mean"]
        assert_curve(event_curve(tmp_path / f"tensorboard/seed={seed}", "evaluation/return"), own)


# Points


def test_points_are_means_of_the_known_updates_since_the_last():
    sink, given = Kept(), list(reports(1, 3, 4, 8))
    with Logger("kept", sink, STEPS, seconds=1e6) as logger:
        for report in given:
            logger(report)
    assert [(point.first, point.last, point.step) for point in sink.points] == [(1, 1, STEPS), (2, 8, 8 * STEPS)]
    rest = np.concatenate([report.metrics["episode_return"] for report in given[1:]], axis=-1)
    for h, s in np.ndindex(2, 2):
        known = [float(x) for x in rest[h, s] if x == x]
        assert sink.points[1].metrics["episode_return"][h, s] == pytest.approx(sum(known) / len(known))
    assert sink.closed == 1


def test_what_no_update_has_is_no_point():
    sink = Kept()
    (report,) = reports(3)
    report.metrics["episode_return"][0, 1] = np.nan
    Logger("kept", sink, STEPS)(report)
    assert np.argwhere(np.isnan(sink.points[0].metrics["episode_return"])).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("cost", "trained", "gap"), [(0.0, 0.0, 1.0), (0.1, 0.0, 0.1 / points.SHARE), (0.0, 3000.0, 3000.0 / 500)]
)
def test_points_are_apart_in_time(monkeypatch, cost, trained, gap):
    now, times = [0.0], []
    monkeypatch.setattr(points, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    class Slow(Kept):
        def write(self, point: Point) -> None:
            times.append(now[0])
            now[0] += cost

    logger = Logger("slow", Slow(), STEPS)
    for report in reports(*range(1, 200)):
        logger(report._replace(seconds=trained))
        now[0] += 0.25
    assert times[0] == 0.0
    assert len(times) > 2
    np.testing.assert_allclose(np.diff(times) - cost, gap, atol=0.25)


# Going on, and what is in the way


def log(name: str, folder: Path, given: Iterator[Progress], spec: RunSpec = SPEC) -> None:
    with make_logger(name, spec, folder, seconds=0.0) as logger:
        logger._next = -np.inf
        for report in given:
            logger(report)
            logger._next = -np.inf


def test_what_came_after_the_checkpoint_is_replaced(tmp_path):
    for name in FILES:
        log(name, tmp_path, reports(2, 4, 6, 8, seed=1))
        log(name, tmp_path, reports(7, 9, begin=4, seed=2))
        log(name, tmp_path / "whole", reports(2, 4, seed=1))
    second = next(reports(7, 9, begin=4, seed=2)).metrics["entropy"]
    readers: list[tuple[Any, str]] = [(read_csv, "log.csv"), (pd.read_parquet, "log.parquet")]
    for read, name in readers:
        table: Any = read(tmp_path / name)
        assert table["update"].drop_duplicates().tolist() == [2, 4, 7, 9]
        pd.testing.assert_frame_equal(table[table["update"] <= 4], read(tmp_path / "whole" / name))
        np.testing.assert_allclose(table[table["update"] == 7]["entropy"], second.mean(-1).ravel(), rtol=1e-6)
    curve = event_curve(tmp_path / "tensorboard/rpo_alpha=0.1/seed=7", "update/entropy")
    assert curve.index.tolist() == [STEPS * update for update in (2, 4, 7, 9)]
    np.testing.assert_allclose(curve[STEPS * 7], second[0, 0].mean(), rtol=1e-6)


def test_a_row_that_was_cut_is_left_out(tmp_path):
    log("csv", tmp_path, reports(2, 4))
    whole = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").write_text(whole[:-30])
    log("csv", tmp_path, reports(6, begin=4))
    table = read_csv(tmp_path / "log.csv")
    assert table.groupby("update").size().to_dict() == {2: 4, 4: 3, 6: 4}
    assert table["entropy"].notna().all()


def test_a_parquet_file_that_was_cut_is_passed_over(tmp_path):
    log("parquet", tmp_path, reports(2, 4))
    (tmp_path / "log.parquet" / ".0000000006.parquet").write_bytes(b"PAR1")
    assert len(pd.read_parquet(tmp_path / "log.parquet")) == 8


def test_a_sweep_has_a_folder_for_each_value_and_one_seed_no_mean(tmp_path):
    spec = tiny_spec(num_seeds=1, rpo_alpha=[0.1, 0.5], learning_rate=[1e-5, 1e-3])
    (report,) = reports(2)
    metrics = {name: x.reshape(4, 1, -1) for name, x in report.metrics.items()}
    log("tensorboard", tmp_path, iter([report._replace(metrics=metrics)]), spec)
    folders = {str(path.parent.relative_to(tmp_path / "tensorboard")) for path in tmp_path.rglob("events.*")}
    assert folders == {
        f"learning_rate={rate}/rpo_alpha={alpha}/seed=7" for alpha in ("0.1", "0.5") for rate in ("1e-05", "0.001")
    }


def test_hundreds_of_curves_leave_no_file_open(tmp_path):
    spec = tiny_spec(num_seeds=2, rpo_alpha=np.linspace(0.1, 1.0, 100).tolist())
    (report,) = reports(1)
    metrics = {name: np.resize(x, (100, 2, 1)) for name, x in report.metrics.items()}
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with make_logger("tensorboard", spec, tmp_path) as logger:
        logger(report._replace(metrics=metrics))
        assert len(list(tmp_path.rglob("events.*"))) == 500
        if sys.platform == "linux":
            assert len(os.listdir("/proc/self/fd")) == before


def toy_spec() -> tuple[RunSpec, Any]:
    """A run whose environment is no suite's, with its agent: two settings, two seeds, seven updates."""
    agent = toys.tiny_agent(rpo_jax.RPO, updates=7)
    hyperparams = grid(rpo_alpha=[0.1, 0.2])
    spec = RunSpec("mine", "rpo", "none", "normal", "bootstrap", None, agent.config, hyperparams, [0, 1])
    return spec, agent


def test_fit_takes_a_logger(tmp_path):
    spec, agent = toy_spec()
    with make_logger("csv", spec, tmp_path, seconds=0.0) as logger:
        result = fit(agent, spec.hyperparams, seeds(0, 2), logger)
    last = read_csv(tmp_path / "log.csv").groupby(["setting", "seed"]).last()
    assert last["update"].tolist() == [7] * 4
    first = read_csv(tmp_path / "log.csv").groupby(["setting", "seed"]).first()
    np.testing.assert_allclose(first["entropy"], result.metrics["entropy"][..., 0].ravel(), rtol=1e-6)


@pytest.mark.parametrize("name", LOGGERS)
def test_a_single_setting_needs_no_grid(name, tmp_path):
    spec = dataclasses.replace(toy_spec()[0], hyperparams=rpo_jax.Hyperparams())
    (report,) = reports(2)
    log(name, tmp_path, iter([report._replace(metrics={key: x[:1] for key, x in report.metrics.items()})]), spec)
    assert any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("when", ["begin", "write", "close"])
def test_a_logger_that_fails_is_told_once_and_training_goes_on(when, caplog):
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        raise OSError(28, "No space left on device")

    sink = Kept()
    setattr(sink, when, fail)
    spec, agent = toy_spec()
    with Logger("kept", sink, STEPS, seconds=0.0) as logger:
        result = fit(
            agent, spec.hyperparams, seeds(0, 2), lambda progress: (setattr(logger, "_next", 0), logger(progress))
        )
    assert not result.interrupted
    assert len(calls) == 1
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("rpo_jax", "WARNING")
    assert "logger kept failed, training continues without it: OSError: [Errno 28]" in record.message


@pytest.mark.parametrize(
    ("name", "taken"), [("tensorboard", "tensorboard"), ("csv", "log.csv/x"), ("parquet", "log.parquet")]
)
def test_a_folder_that_cannot_be_written_does_not_end_training(name, taken, tmp_path, capsys):
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("")
    with toys.told(f"logger {name} failed, training continues without it"):
        assert main(["train", *TINY, "--out", str(tmp_path), "--logger", name]) == 0
    assert len(read_csv(tmp_path / "metrics.csv")) == len(SEEDS) * UPDATES


# What cannot be used


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["tensorbord"], "unknown logger 'tensorbord'; did you mean tensorboard?"),
        (["mlflow"], "unknown logger 'mlflow'; known: csv, parquet, tensorboard, wandb"),
        (["csv", "csv"], "--logger csv csv: name each logger once"),
    ],
)
def test_a_wrong_name_is_refused_in_one_line(names, words, tmp_path, capsys):
    for command in (["train", *TINY, "--out", str(tmp_path / "run")], ["resume", str(tmp_path)]):
        assert main([*command, "--logger", *names]) == 2
        assert capsys.readouterr().err == f"rpo-jax: error: {words}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "package", "extra"), [("wandb", "wandb", "wandb"), ("parquet", "pyarrow", "parquet")])
def test_what_is_not_installed_is_told(name, package, extra, tmp_path, monkeypatch):
    monkeypatch.setattr("rpo_jax.loggers.find_spec", lambda module: None)
    with pytest.raises(SettingsError, match=rf"needs {package}; pip install 'rpo_jax\[{extra}\]'"):
        make_logger(name, SPEC, tmp_path)
    for other in ("csv", "tensorboard"):
        make_logger(other, SPEC, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wandb_that_does_not_start_is_told_before_training(tmp_path, monkeypatch, capsys):
    import wandb

    def refuse(**options: Any) -> None:
        raise ValueError("No API key configured.\nUse `wandb login`.")

    monkeypatch.setattr(wandb, "init", refuse)
    assert main(["train", *TINY, "--out", str(tmp_path / "run"), "--logger", "wandb"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("rpo-jax: error: W&B does not start: No API key configured. Use `wandb login`; WANDB_MODE=")
    assert not (tmp_path / "run" / "settings.json").exists()


def refusing_wandb(patch: pytest.MonkeyPatch, after: int) -> list[Any]:
    """W&B loses its network after so many runs; gives those it opened."""
    import wandb

    opened, init = [], wandb.init

    def open_or_refuse(**options: Any) -> Any:
        if len(opened) >= after:
            raise ConnectionError("network is unreachable")
        opened.append(init(**options))
        return opened[-1]

    patch.setattr(wandb, "init", open_or_refuse)
    return opened


def test_wandb_that_starts_in_part_is_closed(tmp_path, monkeypatch):
    finished = []
    opened = refusing_wandb(monkeypatch, after=2)
    monkeypatch.setattr("wandb.Run.finish", lambda run: finished.append(run))
    with pytest.raises(SettingsError, match="network is unreachable"):
        make_logger("wandb", SPEC, tmp_path)
    assert sorted(map(id, finished)) == sorted(map(id, opened))
    assert len(opened) == 2


def test_wandb_that_does_not_start_later_does_not_end_a_comparison(tmp_path, monkeypatch, capsys):
    refusing_wandb(monkeypatch, after=len(SEEDS))
    assert main(["compare", *TINY, "--out", str(tmp_path), "--logger", "wandb"]) == 0
    assert "network is unreachable" in capsys.readouterr().err
    for variant in ("rpo", "ppo"):
        assert len(read_csv(tmp_path / variant / "metrics.csv")) == len(SEEDS) * UPDATES


def test_wandb_that_does_not_start_does_not_cost_a_run_that_is_resumed(tmp_path, monkeypatch):
    """As one that was killed before its first checkpoint."""
    refusing_wandb(monkeypatch, after=0)
    write_settings(tmp_path, SPEC)
    assert main(["resume", str(tmp_path), "--no-compilation-cache", *AT_ONCE, "--logger", "wandb"]) == 0
    assert len(read_csv(tmp_path / "metrics.csv")) == 2 * len(SEEDS) * UPDATES


def test_no_logger_is_imported_before_it_is_used():
    code = "import sys; import rpo_jax.loggers; print({'wandb', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
