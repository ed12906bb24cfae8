"""The transcription of the published program against NumPy, Gymnasium's wrappers and optax."""

from functools import partial
from pathlib import Path

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from gymnasium.wrappers.utils import RunningMeanStd

import paper
import published_program as program
import recording
from experiments import PENDULUM, PUBLISHED_PROGRAM, Part, parts
from rpo_jax.algorithm.losses import clipped_squared_error, clipped_surrogate, standardize


def test_moments_are_those_of_the_wrappers() -> None:
    samples = np.random.default_rng(0).normal([3.0, -1.0], [0.1, 20.0], (300, 2))
    expected = RunningMeanStd(shape=(2,))
    for sample in samples:
        expected.update(sample[None])
    moments, _ = jax.lax.scan(lambda m, x: (program.seen(m, x), None), program.nothing_seen((2,)), jnp.array(samples))
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-4)
    np.testing.assert_allclose(moments.variance, expected.var, rtol=1e-3)
    np.testing.assert_allclose(moments.num_samples, expected.count)


def test_a_rollout_is_that_of_the_wrappers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its actions, played again one after another; episodes are of 20 steps."""
    monkeypatch.setattr(program, "STEPS", 50)
    env, constants = gymnax.make("Pendulum-v1")
    constants = constants.replace(max_steps_in_episode=20)  # pyright: ignore[reportAttributeAccessIssue]
    params = program.initial_params(0, 3, 1)
    key_begin, key = jax.random.split(jax.random.key(0))
    begin = jax.jit(partial(program.begin_play, env, constants))(key_begin)
    end, steps = jax.jit(partial(program.rollout, env, constants))(params, begin, key)

    step_env = jax.jit(lambda key, state, action: env.step_env(key, state, action, constants))
    reset_env = jax.jit(lambda key: env.reset_env(key, constants))
    moments, of_returns = RunningMeanStd(shape=(3,)), RunningMeanStd(shape=())
    (obs, state), discounted, total = reset_env(key_begin), 0.0, 0.0
    moments.update(np.array(obs, float)[None])
    for index, key_step in enumerate(jax.random.split(key, 50)):
        normalized = (np.array(obs, float) - moments.mean) / np.sqrt(moments.var + 1e-8)
        np.testing.assert_allclose(steps.obs[index], np.clip(normalized, -10, 10), rtol=1e-3, atol=1e-3)
        _, _, key_reset = jax.random.split(key_step, 3)
        obs, state, reward, _, _ = step_env(key_step, state, jnp.clip(steps.action[index], -2.0, 2.0))
        moments.update(np.array(obs, float)[None])
        discounted, total = 0.99 * discounted + float(reward), total + float(reward)
        of_returns.update(np.array([discounted]))
        expected = np.clip(float(reward) / np.sqrt(of_returns.var + 1e-8), -10, 10)
        np.testing.assert_allclose(steps.reward[index], expected, rtol=1e-3)
        ended = index % 20 == 19
        assert steps.done[index] == (index % 20 == 0 and index > 0)
        np.testing.assert_allclose(steps.ended[index], total if ended else np.nan, rtol=1e-4)
        if ended:
            (obs, state), discounted, total = reset_env(key_reset), 0.0, 0.0
            moments.update(np.array(obs, float)[None])
    assert end.obs_moments.num_samples == pytest.approx(moments.count)


def test_advantages_are_those_of_the_loop() -> None:
    random = np.random.default_rng(1)
    rewards, values, dones = random.normal(size=30), random.normal(size=31), 1.0 * (random.random(31) < 0.2)
    expected, last = np.zeros(30), 0.0
    for t in reversed(range(30)):
        goes_on = 1.0 - dones[t + 1]
        delta = rewards[t] + 0.99 * values[t + 1] * goes_on - values[t]
        expected[t] = last = delta + 0.99 * 0.95 * goes_on * last
    found = program.advantages_of(jnp.array(rewards), jnp.array(values), jnp.array(dones))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_rpo() -> None:
    random = np.random.default_rng(2)
    samples = [random.normal(size=size) for size in ((16, 3), (16, 1), 16, 16, 16, (16, 1))]
    batch = program.Minibatch(*(jnp.array(x, jnp.float32) for x in samples))
    params = {**program.initial_params(0, 3, 1), "log_scale": jnp.array([0.3])}
    mean, value = (program.apply(params[name], batch.obs) for name in ("policy", "value"))
    density = jax.scipy.stats.norm.logpdf(batch.action, mean + batch.shift, np.exp(0.3))[:, 0]
    advantage = standardize(batch.advantage, bessel_correction=True)
    of_policy = clipped_surrogate(jnp.exp(density - batch.log_prob), advantage, 0.2).mean()
    of_value = clipped_squared_error(value[:, 0], batch.value, batch.advantage + batch.value, 0.2).mean()
    np.testing.assert_allclose(program.loss_of(params, batch), of_policy + 0.5 * of_value, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-3, 10.0])
def test_a_step_is_that_of_adam_with_clipping(size: float) -> None:
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(3e-4, eps=1e-5))
    weights = jnp.ones(5)
    expected = np.zeros(5)
    learner, state = program.Learner(weights, 0 * weights, 0 * weights, jnp.zeros(())), optimizer.init(weights)
    for gradient in size * np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32):
        learner = program.descend(learner, jnp.array(gradient), jnp.array(3e-4))
        changes, state = optimizer.update(jnp.array(gradient), state)
        expected += np.asarray(changes)
    np.testing.assert_allclose(learner.weights - 1, expected, rtol=2e-3)


def test_initial_weights_are_orthogonal() -> None:
    params = program.initial_params(0, 3, 2)
    for weights, gain in zip([w for w, _ in params["policy"]], (2**0.5, 2**0.5, 0.01), strict=True):
        small = np.array(weights if weights.shape[0] > weights.shape[1] else weights.T)
        np.testing.assert_allclose(small.T @ small, gain**2 * np.eye(small.shape[1]), atol=1e-5)


def test_a_part_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"STEPS": 200, "MINIBATCHES": 2, "EPOCHS": 2, "HIDDEN": 8}.items():
        monkeypatch.setattr(program, name, value)
    monkeypatch.setattr(recording, "RESULTS", tmp_path)
    monkeypatch.setattr(paper, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr("sys.argv", ["benchmarks/paper.py", "protocol"])
    _, part = parts("protocol", [PENDULUM], 2, 650)
    paper.do(Part("protocol", "tiny", {**part.settings, "rpo_alpha": [0.0, 3.0]}))
    (row,) = recording.records("paper-protocol")
    assert row["call"]["program"] == PUBLISHED_PROGRAM
    assert row["summary"]["total_timesteps"] == 600
    assert row["steps"] == [200, 400, 600]
    returns = np.array(row["curves"]["episode_return"])
    assert returns.shape == (2, 2, 3)
    assert (returns < -100).all()
    scale = np.array(row["final_scale"])
    assert (scale[0] != scale[1]).all()  # alpha has an effect


def test_a_run_that_diverged_has_no_return(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {"episode_return": np.full((1, 2, 3), -200.0), "entropy": np.ones((1, 2, 3))}
    metrics["entropy"][0, 1, 1:] = np.nan
    metrics["episode_return"][0, 1, 1:] = np.nan
    monkeypatch.setattr(program, "train", lambda *args: program.Trained(metrics, {}, 1.0))
    summary = program.record(PENDULUM, [0.5], [0, 1], 6144)["summary"]
    assert summary["final_return"] == [[-200.0, None]]
