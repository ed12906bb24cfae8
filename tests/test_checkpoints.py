"""Training that was stopped goes on as if it had not been; what is damaged is passed over or refused."""

import functools
import shutil
import signal
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import toys
from hypothesis import HealthCheck, given, settings

import rpo_jax
from rpo_jax import SettingsError, fit, grid, seeds
from rpo_jax.execution import checkpoints as module
from rpo_jax.execution.checkpoints import FOLDER, Checkpoints
from rpo_jax.execution.fit import Fit, Progress
from rpo_jax.execution.segments import Segments
from rpo_jax.keys import data_of_keys

SETTINGS, UPDATES = grid(rpo_alpha=[0.1, 0.2]), 9


def checkpoints_in(folder: Path, settings: str = "these", share: float = module.SHARE, **versions: str) -> Checkpoints:
    return Checkpoints(folder, settings, versions, seconds=0.0, share=share)


def stopped_after(updates: int, number: int = signal.SIGTERM) -> Any:
    def stop(progress: Progress) -> None:
        if progress.updates >= updates:
            signal.raise_signal(number)

    return stop


@functools.cache
def own_agent() -> Any:
    """One, since each compiles programs of its own, and a process can hold so many only."""
    return toys.tiny_agent(rpo_jax.RPO, env=toys.reaching_env(), updates=UPDATES)


def train(
    folder: Path | None = None,
    stop: Any = lambda progress: None,
    env: Any = None,
    share: float = module.SHARE,
    **options: Any,
) -> Fit:
    agent = toys.tiny_agent(rpo_jax.RPO, env=env, updates=UPDATES) if env else own_agent()
    return fit(
        agent, SETTINGS, seeds(0, 3), stop, checkpoints=folder and checkpoints_in(folder, share=share), **options
    )


def assert_same(found: Fit, expected: Fit) -> None:
    for name, values in expected.metrics.items():
        np.testing.assert_array_equal(found.metrics[name], values, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, data_of_keys(found.state), data_of_keys(expected.state))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("runs_at_once", [None, 4])
def test_a_stopped_fit_goes_on_bit_for_bit(tmp_path, number, runs_at_once):
    with toys.told("repeat the signal to stop immediately"):
        half = train(tmp_path, stopped_after(2, number), runs_at_once=runs_at_once)
    done = half.metrics["entropy"].shape[-1]
    assert half.interrupted
    assert 2 <= done < UPDATES
    rest = train(tmp_path)  # with as many runs at once as before
    assert not rest.interrupted
    assert (half.resumed_from, rest.resumed_from) == (0, done)
    assert rest.runs_at_once == half.runs_at_once
    assert rest.train_seconds > half.train_seconds
    assert_same(rest, train(runs_at_once=runs_at_once))


def test_handlers_are_put_back():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    train(stop=stopped_after(1))
    assert {number: signal.getsignal(number) for number in before} == before


def test_a_second_signal_ends_it_at_once():
    def stop(progress: Progress) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(stop=stop)


def test_a_terminal_that_is_closed_counts_once():
    def stop(progress: Progress) -> None:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)

    with toys.told("stop"):
        assert train(stop=stop).interrupted


def test_what_the_process_ignores_is_ignored_on():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert not train(stop=stopped_after(2, signal.SIGHUP)).interrupted
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_failed_environment_leaves_a_checkpoint_and_the_rest_begins_new_episodes(tmp_path, monkeypatch):
    class Failing(toys.CountingPool):
        def step(self, action: np.ndarray) -> Any:
            if toys.CountingPool.steps == 30:
                toys.CountingPool.steps += 1
                raise ValueError("the leg came off")
            return super().step(action)

    toys.CountingPool.steps = 0
    env, one = toys.host_env(Failing), jax.devices()[:1]
    with toys.told("came off"):
        half = train(tmp_path, env=env, devices=one)
    assert half.failure is not None
    toys.CountingPool.begun = []
    begun, advance = [], Segments.advance

    def noted(self: Any, count: int) -> Any:
        begun.append(np.asarray(self._states[0].discounted_return))
        return advance(self, count)

    monkeypatch.setattr(Segments, "advance", noted)
    rest = train(tmp_path, env=toys.host_env(Failing), devices=one)
    assert (begun[0] == 0).all()  # of new episodes
    assert (begun[1] != 0).any()
    assert rest.failure is None
    whole = train(env=env, devices=one)
    done = half.metrics["entropy"].shape[-1]
    np.testing.assert_array_equal(rest.metrics["entropy"][..., :done], half.metrics["entropy"])
    assert rest.metrics["entropy"].shape == whole.metrics["entropy"].shape
    assert set(toys.CountingPool.begun[0]).isdisjoint(toys.CountingPool.begun[1])
    assert np.isfinite(rest.metrics["policy_loss"]).all()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    with toys.told("stop immediately"):
        train(tmp_path, stopped_after(1))
    with pytest.raises(SettingsError, match="other settings"):
        fit(own_agent(), SETTINGS, seeds(0, 3), checkpoints=checkpoints_in(tmp_path, "others"))


def test_numbers_that_are_not_those_of_the_digest_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "digest", lambda arrays, info: "of other numbers")
    with toys.told("stop immediately"):
        train(tmp_path, stopped_after(1))
    monkeypatch.undo()
    with toys.told("does not match its digest"), pytest.raises(SettingsError, match=r"all checkpoints .* damaged"):
        train(tmp_path)


def test_a_fit_goes_on_from_its_own_checkpoints_only(tmp_path):
    with toys.told("stop immediately"):
        train(tmp_path, stopped_after(1))
    for other in ((grid(rpo_alpha=[0.1, 0.3]), seeds(0, 3)), (SETTINGS, seeds(1, 3))):
        with pytest.raises(SettingsError, match="other settings"):
            fit(own_agent(), *other, checkpoints=checkpoints_in(tmp_path))
    other = toys.tiny_agent(rpo_jax.RPO, env=toys.reaching_env(), updates=UPDATES, num_epochs=3)
    with pytest.raises(SettingsError, match="other settings"):
        fit(other, SETTINGS, seeds(0, 3), checkpoints=checkpoints_in(tmp_path))


def test_where_the_last_is_damaged_the_one_before_says_how_many_runs_at_once(tmp_path):
    with toys.told("stop immediately"):
        train(tmp_path, stopped_after(5), share=1e9, runs_at_once=3)
    last = max(path for path in (tmp_path / FOLDER).iterdir() if path.name.isdigit())
    words = last / "info" / "metadata"
    for damaged in (words.read_text()[:20], words.read_text().replace('"runs_at_once": 3', '"runs_at_once": 6')):
        assert damaged != words.read_text()
        copy = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-{len(damaged)}")
        (copy / FOLDER / last.name / "info" / "metadata").write_text(damaged)
        with toys.told("damaged and ignored"):
            rest = train(copy)
        assert rest.runs_at_once == 3
        assert_same(rest, train(runs_at_once=3))
    with toys.told("6 runs at once, but 3 when the checkpoint was written: results may differ by rounding"):
        train(tmp_path, runs_at_once=6)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    with toys.told("stop immediately"):
        train(tmp_path, stopped_after(1))
    (tmp_path / FOLDER / "7.orbax-checkpoint-tmp" / "arrays").mkdir(parents=True)
    train(tmp_path)
    assert [path.name for path in (tmp_path / FOLDER).iterdir() if not path.name.isdigit()] == []


def test_other_versions_are_told_but_not_those_of_packages_that_were_not_recorded(tmp_path):
    runs = own_agent(), SETTINGS, seeds(0, 3)
    with toys.told("stop immediately"):
        fit(*runs, stopped_after(1), checkpoints=checkpoints_in(tmp_path, jax="0.1"))
    with toys.told("^jax changed since"):
        fit(*runs, checkpoints=checkpoints_in(tmp_path, jax="0.0", mujoco="3.3"))


def test_the_last_few_are_kept_and_their_pace_follows_their_cost(tmp_path, monkeypatch):
    train(tmp_path, share=1e9)
    kept = sorted(int(path.name) for path in (tmp_path / FOLDER).iterdir() if path.name.isdigit())
    assert len(kept) == module.LATEST
    slow = Checkpoints(tmp_path, "these", {}, seconds=3600)
    assert not slow.due()
    clock = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    often = Checkpoints(tmp_path / "new", "these", {}, seconds=1)
    blank = module.Snapshot(None, {"entropy": np.zeros((1, 1, 1))}, None, 0.0, 0.0, 0.0, 1)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(
        module, "digest", lambda arrays, info: clock.__setitem__(0, clock[0] + 3.0) or "none"
    )  # takes 3 s
    often.save(blank, {"variant": "this"})
    clock[0] += 3.0 / module.SHARE - 1
    assert not often.due()
    clock[0] += 2
    assert often.due()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> tuple[Path, Fit]:
    """With as many runs at once as it would not have of itself."""
    folder = tmp_path_factory.mktemp("stopped")
    with toys.told("stop immediately"):
        train(folder, stopped_after(5), runs_at_once=3)
    return folder, train(runs_at_once=3)


@given(data=st.data())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_damage_is_refused_or_does_no_harm(stopped, tmp_path_factory, data):
    """One file of the last checkpoint, or of both, is cut, flipped or gone."""
    original, whole = stopped
    folder = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(original, folder)
    steps = sorted(
        (path for path in (folder / FOLDER).iterdir() if path.name.isdigit()), key=lambda path: int(path.name)
    )
    for step in steps[-data.draw(st.integers(1, len(steps))) :]:
        files = sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size)
        damage(data, data.draw(st.sampled_from(files)))
    try:
        rest = train(folder)
    except SettingsError as error:
        if "damaged" not in str(error):
            raise
    else:
        assert_same(rest, whole)


def damage(data: Any, file: Path) -> None:
    content = bytearray(file.read_bytes())
    how = data.draw(st.sampled_from(["cut", "flip", "gone"]))
    position = data.draw(st.integers(0, len(content) - 1))
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_bytes(content[:position])
    else:
        content[position] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
