"""Nothing that a console, a logger, a callback, the disk or closing does costs a run."""

import errno
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys
from rich.console import Console

import rpo_jax
from rpo_jax import fit, grid, seeds
from rpo_jax.cli.main import main
from rpo_jax.envs import SUITES
from rpo_jax.execution import checkpoints as module
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.fit import Progress
from rpo_jax.execution.snapshot import Snapshot
from rpo_jax.loggers import tables
from rpo_jax.runs.compare import compare_to_folder
from rpo_jax.runs.launch import run_to_folder
from rpo_jax.runs.session import Session
from rpo_jax.settings.spec import RunSpec, make_spec

pytestmark = pytest.mark.usefixtures("shared_agents")
# Short episodes, and the same settings wherever it does not matter, since each of others is compiled anew.
UPDATES, LIMIT = 8, 6
SIZES = {"num_envs": 4, "num_steps": 8, "num_epochs": 1, "num_minibatches": 1, "hidden_sizes": (8,)}
SETTINGS: dict[str, Any] = SIZES | {
    "env_args": {"max_episode_steps": LIMIT},
    "num_seeds": 2,
    "total_timesteps": UPDATES * 32,
}
LINE = "--num-envs 4 --num-steps 8 --num-epochs 1 --num-minibatches 1 --hidden-sizes 8 --no-compilation-cache"
OPTIONS, ONE_SEED = LINE.split(), ["--num-seeds", "1"]
QUICKLY = toys.environment_of_programs()


def is_finished(folder: Path) -> bool:
    return json.loads((folder / "summary.json").read_text())["interrupted"] is False


# The console


def command(folder: Path, updates: int) -> str:
    arguments = ["train", *OPTIONS, *ONE_SEED, "--total-timesteps", str(updates * 32), "--out", str(folder)]
    return f"exec {sys.executable} -m rpo_jax {' '.join(arguments)}"


@pytest.mark.parametrize("ending", [">/dev/full 2>&1", ">&- 2>&-", "2>&1 | head -1"])
def test_a_run_ends_well_where_nothing_can_be_shown(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command(folder, 400)} {ending}"], capture_output=True, env=QUICKLY
    )
    assert done.returncode == 0, done.stderr
    assert is_finished(folder)
    assert b"Traceback" not in done.stdout + done.stderr


def test_a_terminal_that_is_closed_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "bash", "-c", command(folder, 10**7)],
        env=QUICKLY,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while b"steps/s" not in shown:
        shown += os.read(ours, 10_000)
    os.close(ours)  # the kernel sends SIGHUP
    process.send_signal(signal.SIGHUP)  # and so does the shell
    assert process.wait(timeout=100) == 130
    assert not is_finished(folder)
    assert any((folder / "checkpoints").iterdir())


# Loggers and callbacks


def train_to(folder: Path, **session: Any) -> Any:
    return run_to_folder(make_spec("gymnax/Pendulum-v1", **SETTINGS), folder, Session(Console(quiet=True), **session))


@pytest.mark.parametrize("method", ["write", "close"])
def test_a_logger_that_fails_is_told_once_and_left(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("no space")

    monkeypatch.setattr(tables.CSV, method, fail)
    train_to(tmp_path / "run", loggers=["csv"])
    assert is_finished(tmp_path / "run")
    assert sum("no space" in record.message for record in caplog.records) == 1


def interrupted(*args: Any) -> None:
    signal.raise_signal(signal.SIGINT)


def test_an_interrupt_while_a_logger_closes_keeps_the_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables.CSV, "close", interrupted)
    with toys.told("stop"):
        train_to(tmp_path / "run", loggers=["csv"])
    assert is_finished(tmp_path / "run")


class ClosesSlowly(toys.CountingPool):
    """Ctrl-C is pressed twice while it is closed."""

    def close(self) -> None:
        interrupted()
        interrupted()


def test_interrupts_while_environments_close_keep_the_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUITES, "gymnax", SUITES["gymnax"]._replace(make=lambda name, **_: toys.host_env(ClosesSlowly)))
    with toys.told("stop"):
        train_to(tmp_path / "run")
    assert is_finished(tmp_path / "run")


def stop_at(updates: int) -> Callable[[Progress], None]:
    def fail(progress: Progress) -> None:
        if progress.updates >= updates:
            raise ZeroDivisionError

    return fail


def test_a_callback_that_fails_leaves_a_checkpoint(tmp_path: Path) -> None:
    agent, runs = make_spec("gymnax/Pendulum-v1", **SETTINGS).agent(), (grid(), seeds(0, 2))
    with pytest.raises(ZeroDivisionError):
        fit(agent, *runs, stop_at(3), checkpoints=Checkpoints(tmp_path, "these", {}))
    rest = fit(agent, *runs, checkpoints=Checkpoints(tmp_path, "these", {}))
    assert rest.resumed_from >= 3
    whole = fit(agent, *runs)
    assert np.isfinite(whole.metrics["episode_return"]).any()
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(rest.metrics[name], values, err_msg=name)


def test_a_callback_that_fails_leaves_a_folder_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        train_to(tmp_path / "run", on_progress=stop_at(2))
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert is_finished(tmp_path / "run")


def both_methods() -> list[RunSpec]:
    return [make_spec("gymnax/Pendulum-v1", variant=name, **SETTINGS) for name in ("rpo", "ppo")]


@pytest.mark.parametrize("how", ["callback", "signals"])
def test_a_comparison_that_ends_in_its_first_part_goes_on(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def end(progress: Progress) -> None:
        if progress.updates >= 3:
            if how == "callback":
                raise ZeroDivisionError
            interrupted()
            interrupted()

    folder = tmp_path / "both"
    with pytest.raises((ZeroDivisionError, KeyboardInterrupt)):
        compare_to_folder(both_methods(), folder, Session(Console(quiet=True), on_progress=end))
    assert caplog.records[-1].message == f"to continue: rpo-jax resume {folder}"
    assert main(["resume", str(folder)]) == 0
    assert is_finished(folder / "rpo")
    assert is_finished(folder / "ppo")


def test_a_comparison_whose_folder_is_moved_away_is_trained_whole(tmp_path: Path) -> None:
    moved: list[Path] = []

    def move(progress: Progress) -> None:
        if not moved:
            moved.append((tmp_path / "both").rename(tmp_path / "away"))

    with toys.told("was moved or removed"):
        compare_to_folder(both_methods(), tmp_path / "both", Session(Console(quiet=True), on_progress=move))
    assert is_finished(tmp_path / "both" / "rpo")
    assert is_finished(tmp_path / "both" / "ppo")


@pytest.mark.parametrize("where", ["results.write_policies", "results.write_json", "launch.draw_run"])
def test_a_folder_that_is_moved_while_results_are_written_is_written_anew(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, away = tmp_path / "run", tmp_path / "away"
    module, _, name = f"rpo_jax.runs.{where}".rpartition(".")
    write = getattr(sys.modules[module], name)

    def move_first(*args: Any) -> None:
        if not away.exists():
            folder.rename(away)
        write(*args)

    monkeypatch.setattr(f"{module}.{name}", move_first)
    with toys.told("was moved or removed"):
        train_to(folder)
    assert is_finished(folder)
    assert len(rpo_jax.load_run(folder).policy.params) > 0
    assert (folder / "curves.png").exists()


def test_an_interrupt_while_results_are_written_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two, of which the first is caught."""

    def write(*args: Any) -> None:
        interrupted()
        interrupted()

    monkeypatch.setattr("rpo_jax.runs.launch.write_results", write)
    with pytest.raises(KeyboardInterrupt):
        train_to(tmp_path / "run")
    monkeypatch.undo()
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["resumed_from"] == UPDATES


# The disk


def failing_managers(monkeypatch: pytest.MonkeyPatch, times: float) -> list[int]:
    """Lets so many checkpoints fail; the list grows with each attempt."""
    import orbax.checkpoint as ocp

    attempts, save = [], ocp.CheckpointManager.save

    def fail(self: Any, *args: Any, **options: Any) -> Any:
        attempts.append(1)
        if len(attempts) <= times:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save(self, *args, **options)

    monkeypatch.setattr(ocp.CheckpointManager, "save", fail)
    return attempts


def test_a_checkpoint_that_fails_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = failing_managers(monkeypatch, times=1)
    train_to(tmp_path / "run", checkpoint_seconds=0.0, checkpoint_share=1e9)
    assert is_finished(tmp_path / "run")
    assert len(attempts) > 1
    assert any("No space left on device; there is none so far" in record.message for record in caplog.records)
    assert any((tmp_path / "run" / "checkpoints").iterdir())


def test_training_ends_where_no_checkpoint_succeeds_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    attempts = failing_managers(monkeypatch, times=np.inf)
    with pytest.raises(rpo_jax.SettingsError, match="the last 3 attempts all failed"):
        train_to(tmp_path / "run", checkpoint_seconds=0.0)
    assert len(attempts) >= 3


def test_attempts_are_counted_from_the_first_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long ago the last checkpoint was, as of a disk that takes minutes."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    failing_managers(monkeypatch, times=np.inf)
    checkpoints = Checkpoints(tmp_path, "these", {})
    arrays: Any = {"entropy": np.zeros((1, 1, 3))}
    snapshot = Snapshot(arrays, arrays, arrays, 0.0, 0.0, 0.0, 1)
    for hours in (2.0, 2.9, 2.95):
        now[0] = 3600 * hours
        checkpoints.save(snapshot, {})
    now[0] = 3600 * 3.01
    with pytest.raises(rpo_jax.SettingsError, match="the last 4 attempts all failed"):
        checkpoints.save(snapshot, {})


def test_a_comparison_with_a_run_that_diverged_goes_on(tmp_path: Path) -> None:
    """Its return is null in the summary."""
    folder, options = tmp_path / "both", ["--num-seeds", "2", "--total-timesteps", str(UPDATES * 32)]
    options += ["--env-arg", f"max_episode_steps={LIMIT}", "--learning-rate", "1e30"]
    assert main(["compare", *OPTIONS, *options, "--out", str(folder)]) == 0
    (folder / "ppo" / "summary.json").unlink()
    assert main(["resume", str(folder)]) == 0


# Signals


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_compiling_frees_the_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    number, handlers = getattr(signal, name), [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)]
    module = sys.modules["rpo_jax.execution.fit"]
    monkeypatch.setattr(module, "fit_in_memory", lambda *args: os.kill(os.getpid(), number))
    folder = tmp_path / "run"
    assert main(["train", *OPTIONS, *ONE_SEED, "--total-timesteps", "32", "--out", str(folder)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "rpo-jax: interrupted"
    assert not folder.exists()
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)] == handlers


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As under `nohup`."""
    program = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); from rpo_jax.cli import main\n"
        "main.RUN[main.commands.Envs] = lambda _: os.kill(os.getpid(), signal.SIGHUP) or 0\n"
        "sys.exit(main.main(['envs']))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Simulators that hang

HANGING = """
import threading
from pathlib import Path
import gymnasium, numpy as np, rpo_jax
from rpo_jax.execution import waiting

waiting.SECONDS = 0.5

class Hanging(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    steps = 0
    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}
    def step(self, action):
        Hanging.steps += 1
        if Hanging.steps == 4 * 8 * 20 and not Path("well").exists():
            print("hangs", flush=True)
            threading.Event().wait()
        return np.zeros(1, np.float32), 0.0, False, Hanging.steps % 40 < 4, {}
    def close(self):
        if Path("stuck").exists() and Hanging.steps >= 4 * 8:
            print("hangs", flush=True)
            threading.Event().wait()

rpo_jax.register("environment", "mine/hanging", lambda: rpo_jax.from_gymnasium(Hanging, "mine/hanging"))
"""


def hanging_command(folder: Path) -> Any:
    """Trains the simulator until it hangs."""
    (folder / "hanging.py").write_text(HANGING)
    steps = ["--total-timesteps", str(60 * 32)]
    arguments = ["mine/hanging", *OPTIONS, *ONE_SEED, *steps, "--import", "hanging", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rpo_jax", "train", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=QUICKLY,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "hangs\n"
    return process


def interrupted_twice(process: Any) -> str:
    """What a hanging command prints after a second signal, sent when it has named its environment."""
    process.send_signal(signal.SIGINT)
    assert any("still waiting for mine/hanging; repeat the signal" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=30)[1]


def test_a_simulator_that_hangs_is_named_and_left_behind_and_the_run_goes_on(tmp_path: Path) -> None:
    process = hanging_command(tmp_path)
    err = interrupted_twice(process)
    assert process.returncode == 130
    assert err.splitlines()[-2:] == ["rpo-jax: to continue: rpo-jax resume run", "rpo-jax: interrupted"]
    assert any((tmp_path / "run" / "checkpoints").iterdir())
    (tmp_path / "well").touch()
    again = [sys.executable, "-m", "rpo_jax", "resume", "run", "--import", "hanging", "--no-compilation-cache"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True, env=QUICKLY, check=False)
    assert done.returncode == 0, done.stderr
    assert is_finished(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["resumed_from"] > 0


def test_a_simulator_that_hangs_while_it_closes_is_named_and_left_behind_and_the_run_is_finished(
    tmp_path: Path,
) -> None:
    for name in ("well", "stuck"):
        (tmp_path / name).touch()
    process = hanging_command(tmp_path)
    err = interrupted_twice(process)
    assert process.returncode == 0
    assert err.splitlines()[0] == "rpo-jax: environments were not closed: KeyboardInterrupt"
    assert is_finished(tmp_path / "run")


def test_a_third_signal_ends_a_process_that_hangs(tmp_path: Path) -> None:
    """A user's own, which caught the interrupt, and waits when Python exits, as JAX does for what is running."""
    program = """
import atexit, os, signal, sys, threading, time
import hanging, jax, rpo_jax
env = rpo_jax.make_env("mine/hanging")
config = rpo_jax.TrainConfig(60 * 32, 4, 8, num_minibatches=2, hidden_sizes=(8,))
def ask():
    while hanging.Hanging.steps < 640:
        time.sleep(0.1)
    for _ in range(2):
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(2)
    print("third", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
def wait():
    try:
        time.sleep(20)
    finally:
        print("waited", flush=True)
atexit.register(wait)
threading.Thread(target=ask, daemon=True).start()
try:
    rpo_jax.fit(rpo_jax.make_agent(env, config=config), rpo_jax.grid(), rpo_jax.seeds(0, 1))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    (tmp_path / "hanging.py").write_text(HANGING)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, env=QUICKLY)
    assert done.stdout.splitlines() == ["hangs", "interrupted", "third"]
    assert done.returncode == -signal.SIGINT, done.stderr
