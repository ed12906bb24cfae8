"""The command: what it fills a folder with, and how it refuses what cannot be used."""

import contextlib
import errno
import functools
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
import pytest
import toys

import rpo_jax
from rpo_jax import SimulatorError, environment_names, evaluate, seeds
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.cli.main import main
from rpo_jax.cli.parse import _first_paragraph
from rpo_jax.envs import SUITES
from rpo_jax.execution import fit as fitting
from rpo_jax.execution.fit import Fit
from rpo_jax.runs import launch
from rpo_jax.runs.evaluate import EVALUATION
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.results import load_run, read_evaluations
from rpo_jax.runs.settings import load_spec
from rpo_jax.settings.spec import RunSpec

pytestmark = [pytest.mark.usefixtures("shared_agents"), pytest.mark.pictures]

TINY = shlex.split(
    "gymnax/Pendulum-v1 --preset paper --num-seeds 2 --total-timesteps 4.096e3 --num-steps 512 --num-epochs 2 "
    "--num-minibatches 4 --hidden-sizes 8 8 --no-compilation-cache"
)
H, S, U = 2, 2, 8


class Outcome(NamedTuple):
    """What a call of the command did."""

    code: int
    out: str
    err: str
    fits: list[Fit]


def call(*arguments: str) -> Outcome:
    """Runs the command here, and keeps what it trained."""
    fits: list[Fit] = []

    @contextlib.contextmanager
    def fitted(*args, **options):
        with fitting.fitted(*args, **options) as result:
            fits.append(result)
            yield result

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(launch, "fitted", fitted)
        patch.setenv("COLUMNS", "200")
        try:
            code = main(list(arguments))
        except SystemExit as stop:  # what the parser of options does
            code = stop.code
    assert isinstance(code, int)
    assert "Traceback" not in err.getvalue()
    return Outcome(code, out.getvalue(), err.getvalue(), fits)


class Trained(NamedTuple):
    """A folder that the command has filled."""

    path: Path
    outcome: Outcome


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Trained:
    """Two alphas and two seeds."""
    path = tmp_path_factory.mktemp("runs") / "deep" / "sweep"
    outcome = call("train", *TINY, "--rpo-alpha", "0.1", "0.5", "--runs-at-once", "3", "--out", str(path))
    assert outcome.code == 0, outcome.err
    return Trained(path, outcome)


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Trained:
    """Both variants, with one alpha."""
    path = tmp_path_factory.mktemp("runs") / "both"
    outcome = call("compare", *TINY, "--rpo-alpha", "0.3", "--out", str(path))
    assert outcome.code == 0, outcome.err
    return Trained(path, outcome)


def strict_json(path: Path):
    """JSON as the standard has it: neither NaN nor Infinity."""

    def refuse(constant):
        raise AssertionError(f"{path.name} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def is_picture(path: Path) -> bool:
    content = path.read_bytes()
    return content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) > 10_000


def cache_dir() -> str | None:
    return jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]


# train


def test_train_fills_the_folder(sweep):
    assert {path.name for path in sweep.path.iterdir()} == {
        "settings.json",
        "metrics.csv",
        "curves.png",
        "policies.npz",
        "summary.json",
    }
    assert is_picture(sweep.path / "curves.png")
    assert sweep.path.name in sweep.outcome.out


def test_metrics_hold_every_setting_seed_and_update(sweep):
    table = pd.read_csv(sweep.path / "metrics.csv")
    assert list(table.columns) == ["setting", "seed", "update", "step", "rpo_alpha", *METRICS]
    assert table["rpo_alpha"].tolist() == [0.1] * (S * U) + [0.5] * (S * U)
    assert len(table) == H * S * U
    assert table.groupby(["setting", "seed"]).size().tolist() == [U] * (H * S)
    assert table["step"].tolist() == [512 * u for u in range(1, U + 1)] * (H * S)
    fitted = sweep.outcome.fits[0].metrics
    for name in METRICS:
        np.testing.assert_allclose(table[name], fitted[name].ravel(), rtol=1e-6)
    returns, episodes = table["episode_return"].to_numpy(), table["episodes"].to_numpy()
    np.testing.assert_array_equal(np.isnan(returns), episodes == 0)
    assert ((returns[episodes > 0] > -2000) & (returns[episodes > 0] < 0)).all()
    assert (episodes > 0).any()


def test_the_summary_has_every_key(sweep):
    summary = strict_json(sweep.path / "summary.json")
    assert {key: summary[key] for key in ("env", "variant", "preset", "seeds", "total_timesteps", "interrupted")} == {
        "env": "gymnax/Pendulum-v1",
        "variant": "rpo",
        "preset": "paper",
        "seeds": [0, 1],
        "total_timesteps": 4096,
        "interrupted": False,
    }
    assert [row["rpo_alpha"] for row in summary["settings"]] == [0.1, 0.5]
    fitted = sweep.outcome.fits[0].metrics
    np.testing.assert_allclose(summary["final_entropy"], fitted["entropy"][..., -1], rtol=1e-6)
    assert np.shape(summary["final_return"]) == (H, S)
    assert summary["compile_seconds"] > 0
    assert summary["train_seconds"] > 0
    assert summary["env_steps_per_second"] == pytest.approx(4096 * H * S / summary["train_seconds"], rel=0.05)
    assert len(summary["devices"]) == jax.device_count()
    assert summary["runs_at_once"] == 2  # the most is 3, and four runs in equal calls are twice two
    assert f"{summary['bytes_per_run'] / 2**20:.1f} MiB of memory per run; 2 of 4 runs in a call" in sweep.outcome.out
    assert summary["versions"]["jax"] == jax.__version__


def test_policies_load_without_pickle_and_are_those_trained(sweep):
    with np.load(sweep.path / "policies.npz", allow_pickle=False) as stored:
        assert {stored[name].shape[:2] for name in stored.files} == {(H, S)}
    loaded, trained = load_run(sweep.path).policy, sweep.outcome.fits[0].state.policy
    for one, two in zip(jax.tree.leaves(loaded), jax.tree.leaves(trained), strict=True):
        np.testing.assert_array_equal(one, two)


def test_train_prints_a_row_per_setting(sweep):
    summary = strict_json(sweep.path / "summary.json")
    rows = [line for line in sweep.outcome.out.splitlines() if "rpo_alpha=" in line]
    assert [re.findall(r"rpo_alpha=([\d.]+)", row) for row in rows] == [["0.1"], ["0.5"]]
    for row, returns in zip(rows, summary["final_return"], strict=True):
        assert f"{np.mean(returns):,.1f}" in row
        assert f"{np.min(returns):,.1f}" in row


def test_a_setting_trains_alone_as_in_a_sweep(sweep, tmp_path):
    outcome = call("train", *TINY, "--rpo-alpha", "0.5", "--out", str(tmp_path / "one"))
    assert outcome.code == 0
    one, two = outcome.fits[0].metrics, sweep.outcome.fits[0].metrics
    np.testing.assert_allclose(one["entropy"][0], two["entropy"][1], rtol=1e-3)
    assert not np.allclose(two["entropy"][0], two["entropy"][1], rtol=1e-5)
    assert len(pd.read_csv(tmp_path / "one" / "metrics.csv")) == S * U


def test_ppo_trains_with_a_squashed_head(tmp_path):
    path = tmp_path / "run"
    outcome = call(
        "train", *TINY, "--variant", "ppo", "--head", "tanh-normal", "--time-limit", "bootstrap", "--first-seed", "7",
        "--clip-value-loss", "False", "--normalize-advantages", "round", "--learning-rate", "1e-3", "--out", str(path),
    )  # fmt: skip
    assert outcome.code == 0
    described = strict_json(path / "settings.json")
    assert (described["variant"], described["head"], described["time_limit"]) == ("ppo", "tanh-normal", "bootstrap")
    assert described["seeds"] == [7, 8]
    assert described["config"]["clip_value_loss"] is False
    assert described["config"]["normalize_advantages"] == "round"
    assert described["hyperparams"][0]["learning_rate"] == 1e-3
    run = load_run(path)
    assert (run.agent.variant.name, run.agent.head.squashed) == ("ppo", True)


# compare


def test_compare_trains_both_on_the_same_seeds_into_one_picture(compared, tmp_path):
    path, outcome = shutil.copytree(compared.path, tmp_path / "both"), compared.outcome
    assert {entry.name for entry in path.iterdir()} == {"rpo", "ppo", "curves.png", "comparison.json"}
    assert is_picture(path / "curves.png")
    assert (path / "curves.png").read_bytes() != (path / "ppo" / "curves.png").read_bytes()
    rpo, ppo = (strict_json(path / name / "summary.json") for name in ("rpo", "ppo"))
    assert (rpo["variant"], ppo["variant"], rpo["seeds"]) == ("rpo", "ppo", ppo["seeds"])
    assert rpo["settings"][0]["rpo_alpha"] == 0.3
    assert rpo["final_entropy"] != ppo["final_entropy"]
    assert re.search(r"\brpo\b", outcome.out)
    assert re.search(r"\bppo\b", outcome.out)
    assert re.search(r"compilation; [\d,]+ and [\d,]+ steps/s over all runs", outcome.out)
    assert strict_json(path / "comparison.json") == [rpo, ppo]
    both, one = played(str(path), "--num-episodes", "3"), played(str(path / "ppo"), "--num-episodes", "3")
    assert (both.code, both.out.count("3 episodes with the mean action")) == (0, 1)
    cells = [line.split() for line in both.out.splitlines() if re.match(r"\s*(rpo|ppo) +\d", line)]
    assert [row[:2] for row in cells] == [["rpo", "0"], ["rpo", "1"], ["ppo", "0"], ["ppo", "1"]]  # as they were named
    expected = [line.split() for line in one.out.splitlines() if re.match(r"\s*\d ", line)]
    assert [row[1:] for row in cells[2:]] == expected
    (path / "rpo" / "summary.json").unlink()
    assert_refused(played(str(path)), f"{path / 'rpo'} holds no results")


def test_compare_refuses_a_taken_folder_before_it_trains(tmp_path, sweep):
    shutil.copytree(sweep.path, tmp_path / "rpo")
    outcome = call("compare", *TINY, "--variants", "ppo", "rpo", "--out", str(tmp_path))
    assert outcome.code == 2
    assert outcome.fits == []
    assert "already holds a run" in outcome.err


# evaluate


def played(*arguments):
    return call("evaluate", "--no-compilation-cache", *arguments)


@pytest.mark.parametrize("sample", [False, True])
def test_evaluate_prints_what_the_policies_in_memory_earn(sweep, sample):
    outcome = played(str(sweep.path), "--num-episodes", "5", "--seed", "3", *(["--sample"] if sample else []))
    assert (outcome.code, outcome.err) == (0, "")
    agent, policy = load_run(sweep.path).agent, sweep.outcome.fits[0].state.policy
    play = functools.partial(
        evaluate, agent, key=jax.random.fold_in(seeds(3, 1)[0], EVALUATION), num_episodes=5, sample=sample
    )
    returns = np.asarray(jax.jit(jax.vmap(jax.vmap(play)))(policy))
    assert returns.shape == (H, S, 5)
    rows = [line for line in outcome.out.splitlines() if "rpo_alpha=" in line]
    assert len(rows) == H * S
    for row, (h, s) in zip(rows, np.ndindex(H, S), strict=True):
        assert f"rpo_alpha={(0.1, 0.5)[h]}" in row
        printed = [float(x.replace(",", "")) for x in re.findall(r"-?[\d,]+\.\d\b", row.split("rpo_alpha=")[1][3:])]
        own = returns[h, s]
        np.testing.assert_allclose(printed, [own.mean(), own.std(), own.min(), own.max()], atol=0.5)


def test_evaluating_with_samples_differs_from_the_mean_action(sweep):
    tables = [played(str(sweep.path), "--num-episodes", "5", *more).out for more in ([], ["--sample"])]
    assert tables[0] != tables[1]
    assert played(str(sweep.path), "--num-episodes", "5").out == tables[0]
    assert played(str(sweep.path), "--num-episodes", "5", "--seed", "1").out != tables[0]


# envs and help


def test_envs_lists_every_suite_with_sizes(monkeypatch):
    for suite in ("envpool", "gymnasium", "playground"):  # which are slow to list
        monkeypatch.setitem(SUITES, suite, SUITES[suite]._replace(tasks=lambda: {"Run-v1": (24, 6)}))
    outcome = call("envs")
    assert (outcome.code, outcome.err) == (0, "")
    for name in [name for names in environment_names().values() for name in names]:
        assert f"  {name}: " in outcome.out
    assert "gymnax/Pendulum-v1: 3, 1\n" in outcome.out
    assert "  playground/Run-v1: 24, 6\n" in outcome.out


def test_envs_of_a_suite_lists_its_tasks(monkeypatch):
    toys.forget_names(monkeypatch)
    tasks = {"Hop-v1": (15, 4), "Run-v1": (24, 6)}
    monkeypatch.setitem(SUITES, "envpool", SUITES["envpool"]._replace(tasks=lambda: tasks))
    outcome = call("envs", "envpool")
    assert outcome.out.splitlines()[1:] == ["  envpool/Hop-v1: 15, 4", "  envpool/Run-v1: 24, 6"]
    assert_refused(call("envs", "envpol"), "did you mean envpool")


def test_envs_says_how_to_install_a_suite(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "playground: not installed; pip install 'rpo_jax[playground]'" in call("envs").out


def test_envs_says_what_adds_tasks_to_a_suite(monkeypatch):
    suite = SUITES["gymnasium"]._replace(tasks=dict, more={"a_module_that_is_not_there": "its-package"})
    monkeypatch.setitem(SUITES, "gymnasium", suite)
    assert "  and more with: pip install its-package\n" in call("envs", "gymnasium").out


def test_a_suite_without_an_id_is_refused_with_what_lists_them():
    assert_refused(call("train", "envpool"), "`rpo-jax envs envpool` lists them")


class FailingPool(toys.CountingPool):
    """Fails when an environment has had so many episodes, or at its reset where these are none."""

    after: float = np.inf
    error = Exception()

    def reset(self):
        if not self.after:
            raise self.error
        return super().reset()

    def step(self, action):
        if self.episode.max() > self.after:
            raise self.error
        return super().step(action)


AGENTS_THAT_FAIL: list[Agent] = []  # one, so that its programs are compiled once


def fail_with(error: Exception, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained in place of Pendulum with the settings `TINY` fails."""
    monkeypatch.setattr(FailingPool, "after", after)
    monkeypatch.setattr(FailingPool, "error", error)
    monkeypatch.setitem(SUITES, "gymnax", SUITES["gymnax"]._replace(make=lambda name: toys.host_env(FailingPool)))
    make = RunSpec.agent

    def agent(self):
        if not AGENTS_THAT_FAIL:
            AGENTS_THAT_FAIL.append(make(self))
        return AGENTS_THAT_FAIL[0]

    monkeypatch.setattr(RunSpec, "agent", agent)


def test_an_environment_that_fails_ends_the_command_and_what_was_done_is_kept(tmp_path, monkeypatch):
    fail_with(SimulatorError("the leg came off", index=1), 600, monkeypatch)
    with toys.told("came off"):
        outcome = call("train", *TINY, "--out", str(tmp_path / "run"))
    assert outcome.code == 1
    assert "an environment failed: seed " in outcome.out
    assert "the leg came off" in outcome.out
    assert strict_json(tmp_path / "run" / "summary.json")["failure"].endswith("the leg came off")
    assert 0 < len(pd.read_csv(tmp_path / "run" / "metrics.csv")) < 2 * 8
    assert (tmp_path / "run" / "policies.npz").exists()


def test_what_an_environment_says_is_shown_as_short_text(tmp_path, monkeypatch):
    fail_with(ValueError("\x1b[2J[red]\0" + 10**6 * "the leg came off\n"), 600, monkeypatch)
    path = tmp_path / "[bold]run"
    with toys.told("ValueError: "):
        outcome = call("train", *TINY, "--out", str(path))
    assert outcome.code == 1
    assert r"\x1b[2J[red]\x00the leg came off the leg" in outcome.out
    assert f"results: {path}" in outcome.out
    for text in (outcome.out, outcome.err, strict_json(path / "summary.json")["failure"]):
        assert "\x1b" not in text
        assert max(map(len, text.splitlines()), default=0) < 1200
        assert len(text) < 8000


@pytest.mark.parametrize("command", [[], ["train"], ["compare"], ["evaluate"], ["envs"]])
def test_help_is_shown(command):
    outcome = call(*command, "--help")
    assert outcome.code == 0
    assert "usage" in outcome.out.lower()


def test_train_help_documents_every_setting():
    out = call("train", "--help").out
    for record in (rpo_jax.TrainConfig, rpo_jax.Hyperparams):
        for name in record.__dataclass_fields__:
            assert f"--{name.replace('_', '-')}" in out


def test_the_module_runs_as_a_program(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "rpo_jax", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    shown, refused = run("--help"), run("train", "gymnax/Pendulum")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "evaluate" in shown.stdout
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# What cannot be used


@pytest.fixture
def nothing_happens(tmp_path, monkeypatch):
    """Fails if a folder is made in the current directory, or anything is trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, "fitted", None)
    yield
    assert list(tmp_path.iterdir()) == []


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2, one line on stderr with these words, and nothing else."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.fits == []
    assert outcome.err.startswith("rpo-jax: error: ")
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith("\n")
    assert not re.search("\x1b|[│─╭]|---|\\bsee\\b.*\\bsee\\b", outcome.err)
    assert [word for word in words if word not in outcome.err] == []


PENDULUM = "gymnax/Pendulum-v1"
HUNDREDS = " ".join(f"0.{index:03d}" for index in range(1, 401))
BAD = {
    "train gymnax/Pendulum": ["gymnax/Pendulum'", PENDULUM],
    "train brax/hoper": ["brax/hopper"],
    "train pendulum-v1": [PENDULUM],
    "train --variant rppo": ["'rppo'", "rpo"],
    "train --preset papr": ["'papr'", "paper"],
    "train --num-env 4": ["--num-env", "--num-envs"],
    "train --num_env=4": ["--num-envs"],
    "train --rpo-alfa 0.1": ["--rpo-alpha"],
    "train --zzzz": ["--zzzz"],
    "train --head norml": ["'norml'", "normal"],
    "train --time-limit terminat": ["'terminat'", "terminate"],
    "train gymnax/CartPole-v1": ["discrete", "Pendulum-v1"],
    "train --backend spring": ["backend", "brax"],
    "train brax/ant --backend sprng": ["sprng", "spring"],
    "train --preset paper --num-minibatches 30": ["num_minibatches=30", "2048", "16 and 32"],
    "train --preset paper --num-steps 100 --num-minibatches 7": ["7", "100", "5 and 10"],
    "train --num-envs 48 --shuffle environments --num-minibatches 10": ["10", "48", "8 and 12"],
    "train --preset paper --total-timesteps 2047": ["2047", "2048"],
    "train --total-timesteps 0": ["total_timesteps=0", "1 or more"],
    "train --num-epochs -3": ["num_epochs=-3"],
    "train --hidden-sizes 64 0": ["hidden_sizes=0"],
    "train --policy-observation-scale 1 1": ["policy_observation_scale", "2", "3"],
    "train --value-observation-scale 1 1 1 1": ["value_observation_scale", "4", "3"],
    "train --value-observation-scale 1 0 1": ["value_observation_scale=0"],
    "train --learning-rate -1e-3": ["learning_rate=-0.001", "0 or more"],
    "train --learning-rate nan": ["learning_rate=nan", "finite"],
    "train --learning-rate inf": ["learning_rate=inf", "finite"],
    "train --learning-rate 1e39": ["learning_rate"],
    "train --entropy-coefficient -inf": ["entropy_coefficient=-inf"],
    "train --rpo-alpha 0.1 nan": ["rpo_alpha=nan"],
    "train --rpo-alpha 0.1 -0.5": ["rpo_alpha=-0.5"],
    "train --rpo-alpha": ["rpo_alpha"],
    "train --gamma 1.5": ["gamma=1.5", "1 or less"],
    "train --clip-epsilon 0": ["clip_epsilon=0", "above 0"],
    "train --max-grad-norm nan": ["max_grad_norm=nan"],
    "train --variant ppo --rpo-alpha 0.1": ["rpo_alpha", "ppo"],
    "train --num-seeds 0": ["0", "1 or more"],
    "train --runs-at-once 0": ["runs_at_once=0", "1 or more"],
    "compare --runs-at-once -2": ["runs_at_once=-2", "1 or more"],
    "train --first-seed -1": ["-1"],
    "train --first-seed 4294967295": ["4294967295"],
    "train brax/fast --preset seed-notes": ["policy_observation_scale", "brax/fast", "3", "2"],
    "compare --variants rpo rpo": ["rpo rpo", "once"],
    "compare --variants": ["--variants"],
    "compare --variants rpo sac": ["'sac'"],
    "compare --gamma -1": ["gamma=-1"],
    "compare gymnax/Pendulum": [PENDULUM],
    "evaluate missing": ["missing", "holds no run"],
    "evaluate . --num-episodes 0": ["num_episodes=0"],
    "evaluate . --seed -1": ["-1"],
    "evaluate . --num-episode 3": ["--num-episodes"],
    "": ["train, compare, search, resume, merge, evaluate, play, export, envs"],
    "trian": ["'trian'", "train"],
    "train --num-envs many": ["num_envs='many'", "whole number"],
    "train --num-envs 1.5": ["num_envs='1.5'", "whole number"],
    "train --num-envs inf": ["num_envs='inf'", "whole number"],
    "train --gamma high": ["gamma='high'", "number"],
    "train --value-learning-rate None": ["value_learning_rate='None'", "number"],
    "train --rpo-alpha 0.1,0.2": ["rpo_alpha=0.1,0.2", "--rpo-alpha 0.1 0.2"],
    "train --hidden-sizes 64, 32": ["spaces", "--hidden-sizes 64 32"],
    "train --hidden-sizes 32 b": ["hidden_sizes='b'", "whole number"],
    "train --shuffle cards": ["shuffle='cards'", "samples, environments"],
    "train --clip-value-loss maybe": ["clip_value_loss='maybe'", "True or False"],
    "train --num-seeds many": ["--num-seeds", "many"],
    "train --num-seeds": ["--num-seeds"],
    "train one two": ["two"],
    "evaluate": ["DIR"],
    "evaluate . --gamma 3": ["--gamma"],
    "compare --variant rpo": ["--variants"],
    "--num-envs 3": ["before its options"],
    "train --num-seeds 999999999": ["999999999"],
    "train --total-timesteps 1e30": ["2^31"],
    "train --total-timesteps 9007199254740993.5": ["whole number"],
    "train --preset paper --num-minibatches 2048": ["single sample"],
    "train --num-evaluations 1 --evaluation-episodes 1000000000000": ["evaluation_episodes=1000000000000", "1000000"],
    "train --num-evaluations 1000000000000": ["num_evaluations=1000000000000", "1000000 or less"],
    "evaluate . --num-episodes 1000000000000": ["num_episodes=1000000000000", "1000000 or less"],
    "play . --max-steps 1000000000": ["max_steps=1000000000", "10000 or less"],
    f"train --rpo-alpha {HUNDREDS} --learning-rate {HUNDREDS}": ["the number of settings is 160,000"],
}


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("arguments", BAD)
def test_what_cannot_be_used_is_refused_in_one_line(arguments):
    assert_refused(call(*arguments.split()), *BAD[arguments])


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("jax_disable_jit", True, "JAX_DISABLE_JIT is set"),
        ("jax_numpy_dtype_promotion", "strict", "JAX_NUMPY_DTYPE_PROMOTION=strict is set"),
    ],
)
def test_settings_of_jax_with_which_nothing_works_are_refused(setting, value, words):
    before = getattr(jax.config, setting)
    jax.config.update(setting, value)
    try:
        outcomes = [call("train"), call("evaluate", "."), call("export", ".")]
    finally:
        jax.config.update(setting, before)
    for outcome in outcomes:
        assert_refused(outcome, words, "unset it")


def test_a_platform_that_is_not_there_is_refused(tmp_path):
    command, environment = [sys.executable, "-m", "rpo_jax", "train"], os.environ | {"JAX_PLATFORMS": "tpu"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "JAX_PLATFORMS=tpu asks for it: unset it, or choose another" in done.stderr
    assert list(tmp_path.iterdir()) == []


BOX = """\
\x1b[31m╭─\x1b[0m\x1b[31m Value error \x1b[0m\x1b[31m─────╮\x1b[0m
\x1b[31m│\x1b[0m Error parsing \x1b[1m--seed\x1b[0m: \x1b[31m│\x1b[0m
\x1b[31m│\x1b[0m no number.           \x1b[31m│\x1b[0m
\x1b[31m│\x1b[0m ──────────────────── \x1b[31m│\x1b[0m
\x1b[31m│\x1b[0m For full helptext    \x1b[31m│\x1b[0m
\x1b[31m╰────────────────────╯\x1b[0m
"""


FRAMELESS = """\
 Value error
 --------------------
  Error parsing --seed:
  no number.
 --------------------
  For full helptext
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--num-seeds", "x"], "--num-seeds: 'x' is not a whole number"),
        (["train", "--stop-at-return", "abc"], "--stop-at-return: 'abc' cannot be its value"),
        (["compare", "brax/reacher", "gymnax/Pendulum-v1"], "unexpected argument: gymnax/Pendulum-v1"),
        (["resume", "runs", "--total-timesteps", "9"], "--total-timesteps; rpo-jax resume --help lists those that"),
    ],
)
def test_words_of_the_parser_are_plain(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("box", [BOX, re.sub("\x1b.*?m", "", BOX), FRAMELESS])
def test_a_complaint_of_the_parser_is_one_plain_line_on_any_terminal(box):
    assert _first_paragraph(box) == "Error parsing --seed: no number; see --help"


@pytest.mark.parametrize("unbuffered", ["", "1"])  # it is told at the end, or in a line
def test_a_reader_that_stops_reading_gets_no_complaint(unbuffered):
    command = f"{sys.executable} -m rpo_jax envs gymnax | true"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    assert done.stderr == ""


@pytest.mark.parametrize("option", ["--no-compilation-cache", "--compilation-cache"])
def test_a_folder_that_holds_a_run_is_refused(option, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *args, **options: str(tmp_path / "cache"))
    before = {path.name: path.read_bytes() for path in sweep.path.iterdir()}
    kept = cache_dir()
    try:
        outcome = call("train", *TINY, "--out", str(sweep.path), option)
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)
    assert_refused(outcome, str(sweep.path), "--out")
    assert {path.name: path.read_bytes() for path in sweep.path.iterdir()} == before


@pytest.mark.parametrize("name", ["file", "file/below", "x" * 300])
def test_a_folder_that_cannot_be_made_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(call("train", *TINY, "--out", str(tmp_path / name)), "--out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["file", "x" * 300])
def test_a_folder_that_cannot_be_read_is_refused(name, tmp_path):
    (tmp_path / "file").write_text("")
    assert_refused(played(str(tmp_path / name)))


def flip_in_the_middle(content: bytes) -> bytes:
    return content[:1500] + bytes(x ^ 255 for x in content[1500:1600]) + content[1600:]


DAMAGE = {
    "truncated settings": ("settings.json", lambda content: content[:200]),
    "settings of a list": ("settings.json", lambda content: b"[1, 2, 3]"),
    "wrong kind": ("settings.json", lambda content: content.replace(b'"num_envs": 1', b'"num_envs": "1"')),
    "unknown setting": ("settings.json", lambda content: content.replace(b'"num_envs"', b'"num_env"')),
    "unknown environment": ("settings.json", lambda content: content.replace(b"Pendulum-v1", b"Pendulum-v9")),
    "another format": ("settings.json", lambda content: content.replace(b'"format": 3', b'"format": 2')),
    "other sizes": ("settings.json", lambda content: re.sub(rb"8,\s+8\s", b"8, 9", content)),
    "truncated policies": ("policies.npz", lambda content: content[: len(content) // 2]),
    "flipped bytes": ("policies.npz", flip_in_the_middle),
    "no policies": ("policies.npz", lambda content: b""),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(kind, sweep, tmp_path):
    name, damage = DAMAGE[kind]
    path = shutil.copytree(sweep.path, tmp_path / "copy")
    content = (path / name).read_bytes()
    assert damage(content) != content
    (path / name).write_bytes(damage(content))
    assert_refused(played(str(path), "--num-episodes", "1"))


def test_a_run_without_policies_cannot_be_evaluated(sweep, tmp_path):
    path = shutil.copytree(sweep.path, tmp_path / "copy")
    (path / "policies.npz").unlink()
    assert_refused(played(str(path)), "did not finish")


def test_evaluations_leave_a_table_and_the_best_policies(tmp_path):
    path = tmp_path / "run"
    outcome = call("train", *TINY, "--num-evaluations", "2", "--evaluation-episodes", "3", "--out", str(path))
    assert outcome.code == 0
    assert "evaluations took" in outcome.out
    table = pd.read_csv(path / "evaluations.csv")
    assert len(table) == 2 * len(pd.read_csv(path / "metrics.csv").groupby(["setting", "seed"]))
    assert (table.return_min <= table.return_mean).all()
    assert (table.return_mean <= table.return_max).all()
    updates, means = read_evaluations(path, load_spec(path)) or ([], np.zeros(0))
    one = table[(table.setting == 0) & (table.seed == 1)]
    np.testing.assert_array_equal(updates, one["update"])
    np.testing.assert_array_equal(means[0, 1], one["return_mean"])
    best, last = (load_run(path, best=choice).policy for choice in (True, False))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x.shape, y.shape), best, last)
    assert played(str(path), "--num-episodes", "1", "--best").code == 0


def test_there_is_no_best_without_evaluations(sweep):
    assert_refused(played(str(sweep.path), "--best"), "--num-evaluations")


# Interrupts


def test_an_interrupt_keeps_what_was_done(tmp_path, monkeypatch):
    def interrupt(self, progress):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressBar, "__call__", interrupt)
    path = tmp_path / "run"
    outcome = call("train", *TINY, "--out", str(path))
    assert outcome.code == 130
    assert "interrupted" in outcome.out
    summary = strict_json(path / "summary.json")
    assert summary["interrupted"] is True
    assert summary["total_timesteps"] == 512
    assert pd.read_csv(path / "metrics.csv")["update"].tolist() == [1] * S
    assert is_picture(path / "curves.png")
    assert (outcome.fits[0].state.update == 1).all()
    assert played(str(path), "--num-episodes", "1").code == 0
    assert f"to continue: rpo-jax resume {path}" in outcome.out
    monkeypatch.undo()
    rest = call("resume", str(path))
    assert rest.code == 0
    assert strict_json(path / "summary.json")["interrupted"] is False
    call("train", *TINY, "--out", str(tmp_path / "whole"))
    assert (path / "metrics.csv").read_text() == (tmp_path / "whole" / "metrics.csv").read_text()
    found, expected = (load_run(folder).policy for folder in (path, tmp_path / "whole"))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert "is finished" in call("resume", str(path)).out


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(sweep, tmp_path):
    path = tmp_path / "killed"
    path.mkdir()
    shutil.copy(sweep.path / "settings.json", path)
    assert call("resume", str(path)).code == 0
    found, expected = (pd.read_csv(folder / "metrics.csv") for folder in (path, sweep.path))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)  # not as many runs at once as before


def test_a_full_disk_is_told_and_what_was_done_is_gone_on_with(tmp_path, monkeypatch):
    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    path = tmp_path / "run"
    outcome = call("train", *TINY, "--out", str(path))
    assert outcome.code == 2
    assert f"No space left on device; fix that, and then run: rpo-jax resume {path}\n" in outcome.err
    monkeypatch.undo()
    assert call("resume", str(path)).code == 0
    assert (path / "policies.npz").exists()


def test_a_disk_that_is_full_from_the_start_is_one_line(tmp_path, monkeypatch):
    def full(path, *args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_text", full)
    outcome = call("train", *TINY, "--out", str(tmp_path / "run"))
    assert outcome.code == 2
    last = outcome.err.splitlines()[-1]
    assert re.fullmatch(r"rpo-jax: error: No space left on device: .*\.settings\.json\.[0-9a-f]+\.part", last)


def test_an_interrupt_ends_a_comparison(compared, tmp_path, monkeypatch):
    def interrupt(self, progress):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressBar, "__call__", interrupt)
    path = tmp_path / "both"
    outcome = call("compare", *TINY, "--rpo-alpha", "0.3", "--out", str(path))
    assert (outcome.code, len(outcome.fits)) == (130, 1)
    assert {entry.name for entry in (path / "ppo").iterdir()} == {"settings.json"}
    assert is_picture(path / "curves.png")
    monkeypatch.undo()
    rest = call("resume", str(path))
    assert (rest.code, len(rest.fits)) == (0, 2)
    for variant in ("rpo", "ppo"):
        found, expected = (folder / variant / "metrics.csv" for folder in (path, compared.path))
        assert found.read_text() == expected.read_text()
    assert strict_json(path / "comparison.json")[1]["final_return"] is not None
    assert "is finished" in call("resume", str(path)).out


def test_an_interrupt_in_the_last_update_of_a_part_ends_a_comparison_too(tmp_path, monkeypatch):
    show = ProgressBar.__call__

    def interrupt(self, progress):
        show(self, progress)
        if progress.updates == 8:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ProgressBar, "__call__", interrupt)
    path = tmp_path / "both"
    outcome = call("compare", *TINY, "--out", str(path))
    assert (outcome.code, len(outcome.fits)) == (130, 1)
    assert strict_json(path / "rpo" / "summary.json")["interrupted"] is False
    assert "to continue: rpo-jax resume" in outcome.out
    monkeypatch.undo()
    rest = call("resume", str(path))
    assert (rest.code, len(rest.fits)) == (0, 1)


def test_a_failure_before_the_first_update_leaves_nothing(tmp_path, monkeypatch):
    fail_with(ValueError("no license"), 0, monkeypatch)
    with toys.told("no license"):
        outcome = call("train", *TINY, "--out", str(tmp_path / "run"))
    assert outcome.code == 1
    assert "failed: in the first update, ValueError: no license" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_before_the_first_update_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fitted", interrupt)
    outcome = call("train", *TINY, "--out", str(tmp_path / "run"))
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.err.splitlines()[-1] == "rpo-jax: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_compiled_programs_are_kept_in_the_users_cache(command, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *args, **options: str(tmp_path / "cache"))
    monkeypatch.setattr(fitting, "fitted", lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
    arguments = {
        "train": [*TINY, "--out", str(tmp_path / "run")],
        "evaluate": [str(sweep.path), "--num-episodes", "1"],
    }[command]
    kept = cache_dir()
    used = []
    try:
        for option in ("--no-compilation-cache", "--compilation-cache"):
            call(command, *arguments, option)
            used.append(cache_dir())
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)
    assert used == [kept, str(tmp_path / "cache")]
