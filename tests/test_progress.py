"""What is shown while a run trains, and ways to stop it."""

import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import rpo_jax
from rpo_jax import fit, grid, seeds
from rpo_jax.algorithm.variants import VARIANTS
from rpo_jax.analysis.intervals import bounds_of_mean
from rpo_jax.cli.main import main
from rpo_jax.execution.fit import Progress
from rpo_jax.runs import progress as module
from rpo_jax.runs.evaluate import evaluation_table
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.session import Session, reporting
from rpo_jax.runs.verdicts import verdicts

pytestmark = pytest.mark.usefixtures("shared_agents")
SPEC_SIZES = {"num_envs": 8, "num_steps": 16, "num_minibatches": 4, "hidden_sizes": (8,)}
LINE = "--num-envs 8 --num-steps 16 --num-minibatches 4 --hidden-sizes 8 --num-seeds 2 --no-compilation-cache"


def spec_of(updates: int, variant: str = "rpo") -> Any:
    return rpo_jax.make_spec("gymnax/Pendulum-v1", variant, num_seeds=2, total_timesteps=updates * 128, **SPEC_SIZES)


def progress_of(updates: int, returns: Any, seconds: float = 2.0, evaluated: Any = None) -> Progress:
    """After one more update of one setting and two seeds."""
    rows = np.asarray(returns, float).reshape(-1, 2, 1)
    found = None if evaluated is None else np.full((1, 2, 4), evaluated)
    return Progress(updates, seconds, {"episode_return": rows, "entropy": np.full(rows.shape, 1.4189)}, found)


def shown(width: int, terminal: bool, *reports: Progress, variant: str = "rpo") -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    with ProgressBar(console, spec_of(10_000, variant)).show() as bar:
        for report in reports:
            bar(report)
        if terminal:
            bar._bar.refresh()
    return re.sub(r"\x1b\[[\d;?]*\w", "", console.file.getvalue())  # pyright: ignore[reportAttributeAccessIssue]


def test_a_terminal_of_80_columns_shows_total_share_and_time_left() -> None:
    last = shown(80, True, progress_of(2500, [-1200, -1000], 30.0)).strip().splitlines()[-1]
    assert all(text in last for text in ("rpo", "25%", "320k/1.28M", "return -1,100.0", "entropy 1.42", "steps/s"))
    assert re.search(r"\d\d:\d\d|-:--", last)
    assert "…" not in last


@pytest.mark.parametrize("size", [1, 1000])
def test_what_matters_most_is_shown_beside_evaluations_and_a_long_name(size: int) -> None:
    longest = max(VARIANTS, key=len)
    report = progress_of(2500, [-size, -size], 30.0, evaluated=-1.5 * size)
    last = shown(80, True, report, report, variant=longest).strip().splitlines()[-1]
    for text in (longest, " 25% ", f"return {-size:,.1f} ", f"eval {-1.5 * size:,.1f} ", "entropy 1.42 "):
        assert text in last
    assert re.search(r" (\d\d:\d\d|-:--|--:--)$", last)
    assert len(last) <= 80
    assert "…" not in last


def test_a_log_file_has_lines_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    lines = shown(80, False, progress_of(2500, [-1200, -1000], 30.0, evaluated=-9)).splitlines()
    begin, end = "rpo: 320,000 of 1,280,000 steps (25%)  return -1,100.0", "entropy 1.42  21.3k steps/s  0:01:30 left"
    expected = f"{begin}  eval -9.0  {end}"
    assert lines == ["rpo: compiling", "going on from update 2,499 of 10,000", expected]


def test_time_left_is_that_at_the_speed_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 steps an update of both runs: an update took 1 s before, takes 0.1 s at first, 0.2 s in the last minute."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    times = [1000.0, 1010.0, 1020.0, 1080.0, 1100.0]
    reports = [
        progress_of(updates, [-1, -1], at) for updates, at in zip([1000, 1100, 1200, 1500, 1600], times, strict=True)
    ]
    lines = shown(200, False, *reports).splitlines()[2:]
    found = [re.search(r"(\S+) steps/s  (\S+) left", line).groups() for line in lines]  # pyright: ignore[reportOptionalMemberAccess]
    assert found == [
        ("256", "2:30:00"),  # 9,000 updates left
        ("2.56k", "0:14:50"),
        ("2.56k", "0:14:40"),
        ("1.28k", "0:28:20"),
        ("1.28k", "0:28:00"),
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1020, "1.02k"), (999_900, "1000k"), (24.3e6, "24.3M"), (2e9, "2G")],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert module._short(number) == text


def test_a_callback_stops_training_by_a_word(tmp_path: Path) -> None:
    agent, calls = spec_of(100).agent(), []
    result = fit(agent, grid(), seeds(0, 1), lambda progress: calls.append(progress.updates) or len(calls) < 2)
    assert result.interrupted
    assert result.stopped_early
    assert result.metrics["entropy"].shape[-1] == calls[-1] < agent.config.num_updates
    assert len(calls) == 2


@pytest.mark.parametrize(("wanted", "rows", "stops"), [(-5.0, [[-4, -7], [-4, -5]], 2), (-5.0, [[-4, -7]], None)])
def test_a_return_to_reach_is_that_of_every_setting(
    wanted: float, rows: list[list[float]], stops: int | None, tmp_path: Path
) -> None:
    session = Session(Console(quiet=True), stop_at_return=wanted)
    with reporting(spec_of(10), tmp_path, session, strict=True) as report:
        answers = [report(progress_of(index + 1, row)) for index, row in enumerate(rows)]
        assert answers == [index + 1 != stops for index in range(len(rows))]
        assert not report(progress_of(9, [[np.nan, -4.0]]))  # the last known return of the first seed counts


def test_a_run_that_reached_its_return_goes_on_if_asked(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = str(tmp_path / "run")
    arguments = [*LINE.split(), "--total-timesteps", str(400 * 128), "--out", folder]
    assert main(["train", *arguments, "--stop-at-return", "-3000"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["interrupted"]
    assert summary["stopped_early"]
    assert f"rpo: the return to reach was reached after {summary['total_timesteps']:,} steps" in capsys.readouterr().out
    assert main(["resume", folder]) == 0
    assert not json.loads((tmp_path / "run" / "summary.json").read_text())["interrupted"]


@pytest.mark.parametrize("evaluated", [False, True])
def test_the_table_of_a_sweep_fits_80_columns(evaluated: bool) -> None:
    labels = [f"rpo_alpha={alpha}, learning_rate=0.0003" for alpha in (0.1, 0.25)]
    summary = {
        "variant": "rpo-sigma",
        "final_return": [[-1234.5, -1000.0], [None, -3.0]],
        "final_entropy": [[1.5, 2.5], [1.0, 1.0]],
        "final_evaluation": [[-100.0, -200.0], [-1.0, -3.0]] if evaluated else None,
    }
    console = Console(file=io.StringIO(), width=80)
    console.print(module.results_table([summary], [labels]))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    for word in ("rpo-sigma", "rpo_alpha=0.25", "learning_rate=0.0003", "-1,117.2", "-1,234.5", "2.00", "nan"):
        assert word in text
    assert ("-150.0" in text) == evaluated
    assert "…" not in text


def test_runs_of_a_folder_that_have_nothing_in_common_are_told_apart() -> None:
    envs = {"first": "gymnax/Pendulum-v1", "second": "gymnax/MountainCarContinuous-v0"}
    specs = {name: rpo_jax.make_spec(env, num_seeds=1, **SPEC_SIZES) for name, env in envs.items()}
    console = Console(file=io.StringIO(), width=100)
    console.print(evaluation_table(specs, [np.ones((1, 1, 3)), np.zeros((1, 1, 3))], sample=False))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "gymnax/Pendulum-v1 and gymnax/MountainCarContinuous-v0: returns of 3 episodes" in " ".join(text.split())
    assert re.search(r"first +0 +1\.0", text)
    assert re.search(r"second +0 +0\.0", text)


def test_the_table_of_an_evaluated_sweep_fits_80_columns() -> None:
    names = ("rpo", "ppo-constant-std")
    sweep = {"learning_rate": [0.000123, 0.000456], "entropy_coefficient": [0.00123, 0.0456]}
    specs = {name: rpo_jax.make_spec("gymnax/Pendulum-v1", name, num_seeds=1, **sweep, **SPEC_SIZES) for name in names}
    returns = [np.full((4, 1, 3), -1234.5), np.full((4, 1, 3), -12.25)]
    console = Console(file=io.StringIO(), width=80)
    console.print(evaluation_table(specs, returns, sample=False))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    header, *rows = text[text.index(" run ") :].splitlines()
    ends = [0, *(header.index(word) for word in ("setting", " seed"))]
    variants, settings = ("".join(row[begin:end].strip() for row in rows) for begin, end in itertools.pairwise(ends))
    assert variants.count("rpo") == variants.count("ppo-constant-std") == 4
    for name, values in sweep.items():
        assert all(settings.count(f"{name}={value:g}") == 4 for value in values)
    assert text.count("-1,234.5") == 3 * 4
    assert "deviation" in header


def test_the_table_shows_intervals_where_there_are_seeds() -> None:
    labels = [f"rpo_alpha={alpha}, learning_rate=0.0003" for alpha in (0.1, 0.25)]
    returns = [[-1234.5, -1000.0, -1100.0], [-5.0, -5.0, -5.0]]
    summary = {"variant": "rpo-sigma", "final_return": returns, "final_evaluation": returns}
    summary["final_entropy"] = [[1.5, 2.5, -10.25]] * 2
    console = Console(file=io.StringIO(), width=80)
    console.print(module.results_table([summary], [labels]))
    text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    low, high = bounds_of_mean(np.array(returns[0]))
    for word in ("-1,111.5", f"{low:,.0f} to {high:,.0f}", "-5.0 to -5.0"):
        assert word in text
    assert low < -1111.5 < high


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([1.0, 2.0, 3.0], "ppo: 8.0, 95% interval 5.7 to 10.3: rpo is better here"),
        ([21.0, 22.0, 23.0], "ppo: -12.0, 95% interval -14.3 to -9.7: ppo is better here"),
        ([0.0, 10.0, 20.0], "ppo: 0.0, 95% interval -24.5 to 24.5: not decided with this many seeds"),
        ([0.0, 10.0, None, 20.0], "24.5, diverged: 1 of 4 runs of ppo: not decided with this many seeds"),
        ([1.0, None, 2.0, 3.0], "10.3, diverged: 1 of 4 runs of ppo: rpo is better here"),
        ([21.0, None, 22.0, 23.0], "-9.7, diverged: 1 of 4 runs of ppo: not decided, since ppo lost runs"),
        ([1.0, 2.0], "rpo and ppo: 3 seeds or more are needed"),
        (
            [1.0, 2.0, None],
            "rpo and ppo, diverged: 1 of 3 runs of ppo: 3 seeds or more that did not diverge are needed",
        ),
    ],
)
def test_a_comparison_says_what_its_numbers_decide(others: list[float], told: str) -> None:
    """By hand: of 9, 10, 11 and 1, 2, 3 the variances of the means are 1/3 each, so t has 4 degrees of freedom."""
    both = [("rpo", [9.0, 10.0, 11.0]), ("ppo", others)]
    summaries = [{"variant": name, "settings": [{}], "final_return": [returns]} for name, returns in both]
    (sentence,) = verdicts(summaries)
    assert told in sentence
    swept = [summary | {"settings": [{}, {}]} for summary in summaries]
    (sentence,) = verdicts(swept)
    assert "compare a setting of each on other seeds" in sentence
