"""Evaluation during training: it finds what `evaluate` finds, and changes nothing of the training."""

import signal
from typing import Any

import jax
import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax import SettingsError, SimulatorError, evaluate, fit, grid, seeds
from rpo_jax.execution import evaluations
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.evaluations import Evaluation
from rpo_jax.execution.fit import Fit, Progress
from rpo_jax.settings.spec import make_spec

SETTINGS = grid(learning_rate=[1e-3, 3e-2], observation_clip=10.0)
THREE = Evaluation(count=3, num_episodes=5, key=jax.random.key(77))


def train(updates: int = 9, evaluation: Evaluation | None = THREE, env: Any = None, **options: Any) -> Fit:
    agent = toys.tiny_agent(
        rpo_jax.RPO, env=env or toys.reaching_env(), updates=updates, learning_rate_schedule="constant"
    )
    return fit(agent, SETTINGS, seeds(0, 2), evaluation=evaluation, **options)


def train_until(updates: int, **options: Any) -> Fit:
    """The same runs, stopped after so many updates."""
    return train(on_progress=lambda progress: progress.updates < updates, **options)


def returns_of(result: Fit, setting: int, seed: int, env: Any = None) -> np.ndarray:
    agent = toys.tiny_agent(rpo_jax.RPO, env=env or toys.reaching_env())
    policy = jax.tree.map(lambda x: x[setting, seed], result.state.policy)
    return np.asarray(evaluate(agent, policy, THREE.key, 5))


@pytest.mark.parametrize("make", [toys.reaching_env, toys.host_env])
def test_it_finds_what_the_policies_of_that_update_do(make):
    env = make()
    result = train(env=env, devices=jax.devices()[:1])
    assert result.evaluated is not None
    np.testing.assert_array_equal(result.evaluated.updates, [3, 6, 9])
    assert result.evaluated.returns.shape == (2, 2, 3, 5)
    for index, updates in enumerate((3, 6, 9)):
        then = train_until(updates, env=env, devices=jax.devices()[:1])
        for run in np.ndindex(2, 2):
            expected = returns_of(then, *run, env=env)
            np.testing.assert_allclose(result.evaluated.returns[*run, index], expected, rtol=1e-4)


def test_training_never_knows():
    result, without = train(), train(evaluation=None)
    for name, values in without.metrics.items():
        np.testing.assert_array_equal(result.metrics[name], values, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, result.state.policy, without.state.policy)
    assert without.evaluated is None
    assert result.evaluate_seconds > 0


def test_the_best_policy_of_each_run_is_kept():
    result = train()
    assert result.evaluated is not None
    means = result.evaluated.returns.mean(-1)
    np.testing.assert_allclose(result.evaluated.best_return, means.max(-1), rtol=1e-6)
    policies = [train_until(updates).state.policy for updates in (3, 6, 9)]
    assert len(np.unique(means.argmax(-1))) > 1  # not always the last
    for run in np.ndindex(2, 2):
        best = policies[means[run].argmax()]
        jax.tree.map(
            lambda x, y, run=run: np.testing.assert_allclose(x[run], y[run], rtol=1e-5, atol=1e-6),
            result.evaluated.best,
            best,
        )


def test_progress_tells_of_each():
    reports: list[Progress] = []
    result = train(on_progress=reports.append)
    assert result.evaluated is not None
    told = [report for report in reports if report.returns is not None]
    assert [report.updates for report in told] == [3, 6, 9]
    np.testing.assert_array_equal(told[1].returns, result.evaluated.returns[:, :, 1])


def test_a_stopped_fit_goes_on_with_its_evaluations(tmp_path):
    def stop(progress: Progress) -> None:
        if progress.updates >= 3:
            signal.raise_signal(signal.SIGTERM)

    with toys.told("stop immediately"):
        train(on_progress=stop, checkpoints=Checkpoints(tmp_path, "these", {}))
    rest, whole = train(checkpoints=Checkpoints(tmp_path, "these", {})), train()
    jax.tree.map(np.testing.assert_array_equal, rest.evaluated, whole.evaluated)


@pytest.mark.parametrize("failing", [2, 3])
def test_an_evaluation_that_fails_is_made_when_the_fit_goes_on(tmp_path, monkeypatch, failing):
    calls, honest = [0], evaluations.evaluate_all

    def evaluate_all(*args, **options):
        calls[0] += 1
        if calls[0] == failing:
            raise SimulatorError("the leg came off")
        return honest(*args, **options)

    monkeypatch.setattr(evaluations, "evaluate_all", evaluate_all)
    half = train(checkpoints=Checkpoints(tmp_path))
    assert half.failure is not None
    assert half.interrupted
    rest, whole = train(checkpoints=Checkpoints(tmp_path)), train()
    assert not rest.interrupted
    jax.tree.map(np.testing.assert_array_equal, rest.evaluated, whole.evaluated)


def test_more_evaluations_than_updates_are_one_after_each():
    result = train(evaluation=Evaluation(12, THREE.num_episodes, THREE.key))
    assert result.evaluated is not None
    np.testing.assert_array_equal(result.evaluated.updates, np.arange(1, 10))


@pytest.mark.parametrize(("name", "value"), [("num_evaluations", -1), ("evaluation_episodes", 0)])
def test_what_makes_no_sense_is_refused(name, value):
    with pytest.raises(SettingsError, match=f"{name}={value}"):
        make_spec("gymnax/Pendulum-v1", **{name: value})
