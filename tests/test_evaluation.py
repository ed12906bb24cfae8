"""Whole episodes with a learned policy: returns that are known, and what must not disturb them."""

import dataclasses
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import toys
from scipy import stats

from rpo_jax import RPO, Dynamics, Environment, Policy, Successor, evaluate, record, vectorize
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.normalization import Moments, initial_moments
from rpo_jax.execution import episodes

MOMENTS = Moments(jnp.asarray([0.3, -1.0]), jnp.asarray([4.0, 0.25]), jnp.asarray(100.0))
OBS = jnp.asarray([1.5, -0.8])
NORMALIZED = (np.asarray([1.5, -0.8]) - [0.3, -1.0]) / [2.0, 0.5]


def played(agent: Agent, policy: Policy, num_episodes: int, seed: int = 0, **options: Any) -> np.ndarray:
    run = jax.jit(partial(evaluate, agent, num_episodes=num_episodes, **options))
    return np.asarray(run(policy, jax.random.key(seed)), np.float64)


def echo_env(low: float = -9.0, high: float = 9.0) -> Environment:
    """One step from a fixed observation, and the action is the reward."""

    def init(key: jax.Array):
        return jnp.zeros(()), OBS

    def step(key: jax.Array, state: Any, action: jax.Array):
        return state, Successor(OBS, action[0], jnp.ones((), bool), jnp.zeros((), bool))

    return vectorize(Dynamics(init, step), name="echo", observation_size=2, **toys.bounds(low, high))


def patient_env(time_limit: int | None, end: float = np.inf) -> Environment:
    """A reward of 1 at each step, and no end before so many."""

    def init(key: jax.Array):
        return jnp.zeros(()), jnp.zeros(1)

    def step(key: jax.Array, state: Any, action: jax.Array):
        return state + 1, Successor(jnp.zeros(1), jnp.ones(()), jnp.zeros((), bool), state + 1 >= end)

    attributes = {"observation_size": 1, "time_limit": time_limit, **toys.bounds(-1.0, 1.0)}
    return vectorize(Dynamics(init, step), name="patient", **attributes)


def policy_of(agent: Agent, seed: int = 0) -> Policy:
    return Policy(toys.random_params(agent, seed, scale=0.8), MOMENTS)


def location(policy: Policy, obs: np.ndarray = NORMALIZED) -> tuple[float, float]:
    """Location and scale of the action, by NumPy."""
    parts = oracles.float64(policy.params)["params"]
    return oracles.mlp(parts["policy"], obs)[0], np.exp(parts["log_scale"][0])


def test_each_episode_counts_once_and_whole_whatever_its_length() -> None:
    agent = toys.tiny_agent(env=toys.counting_env())
    returns = played(agent, policy_of(agent), 300)
    # An episode of L steps from `start` returns L start + L (L - 1) / 2, with L = 3 + floor(5 start): solve for start.
    lengths = np.arange(3, 8)
    starts = (returns[:, None] - lengths * (lengths - 1) / 2) / lengths
    fits = (starts > (lengths - 3) / 5 - 1e-5) & (starts < (lengths - 2) / 5 + 1e-5)
    assert (fits.sum(1) == 1).all()
    assert stats.kstest(starts[fits], stats.uniform.cdf).pvalue > 1e-3
    assert len(np.unique(returns)) > 290


@pytest.mark.parametrize("head", ["normal", "gumbel", "tanh-normal"])
def test_the_mean_action_is_played_and_observations_are_normalized_by_the_policy_s_moments(head: str) -> None:
    low, high = -0.9, 0.4
    agent = toys.tiny_agent(env=echo_env(low, high), head=head)
    policy = policy_of(agent, seed=3)
    loc, scale = location(policy)
    x = loc + scale * np.euler_gamma if head == "gumbel" else loc
    expected = low + (high - low) / 2 * (np.tanh(x) + 1) if head == "tanh-normal" else np.clip(x, low, high)
    np.testing.assert_allclose(played(agent, policy, 5), expected, rtol=1e-5)


def test_samples_follow_the_policy() -> None:
    agent = toys.tiny_agent(env=echo_env())
    policy = policy_of(agent)
    loc, scale = location(policy)
    assert stats.kstest(played(agent, policy, 2000, sample=True), stats.norm(loc, scale).cdf).pvalue > 1e-3
    np.testing.assert_allclose(played(agent, policy, 3), loc, rtol=1e-5)


def test_observations_are_clipped_as_in_training_and_left_alone_where_training_left_them() -> None:
    agent = toys.tiny_agent(env=echo_env())
    policy = policy_of(agent)
    expected, _ = location(policy, np.clip(NORMALIZED, -0.5, 0.5))
    np.testing.assert_allclose(played(agent, policy, 3, observation_clip=0.5), expected, rtol=1e-5)
    plain = toys.tiny_agent(env=echo_env(), normalize_observations=False)
    np.testing.assert_allclose(played(plain, policy, 3), location(policy, np.asarray(OBS, np.float64))[0], rtol=1e-5)


@pytest.mark.parametrize(("time_limit", "expected"), [(6, 10_000.0), (None, 10_000.0), (10_003, 10_003.0)])
def test_an_episode_that_goes_on_is_cut(time_limit: int | None, expected: float) -> None:
    agent = toys.tiny_agent(env=patient_env(time_limit))
    policy = Policy(toys.random_params(agent), initial_moments((1,)))
    np.testing.assert_array_equal(played(agent, policy, 3), expected)


@pytest.mark.parametrize("told", [4, 2, 9])
def test_time_limits_of_the_dynamics_end_episodes(told: int) -> None:
    """As in training, whatever time limit was told."""
    agent = toys.tiny_agent(env=toys.reaching_env(time_limit=4)._replace(time_limit=told))
    policy = Policy(jax.tree.map(jnp.zeros_like, toys.random_params(agent)), initial_moments((2,)))
    # Actions of 0: x stays where it began, |x| < 1, and four rewards of -x^2 follow.
    returns = played(agent, policy, 50)
    assert stats.kstest(np.sqrt(-returns / 4), stats.uniform.cdf).pvalue > 1e-3


def test_a_key_gives_its_episodes_again_and_another_gives_others() -> None:
    agent = toys.tiny_agent(env=toys.counting_env())
    first, again, other = (played(agent, policy_of(agent), 20, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_evaluation_vmaps_over_policies() -> None:
    agent = toys.tiny_agent(env=toys.reaching_env())
    policies = [policy_of(agent, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies)
    keys = jax.random.split(jax.random.key(0), 3)
    run = partial(evaluate, agent, num_episodes=8, sample=True)
    together = jax.jit(jax.vmap(run))(stacked, keys)
    assert together.shape == (3, 8)
    alone = jax.jit(run)
    for policy, key, returns in zip(policies, keys, together, strict=True):
        np.testing.assert_allclose(returns, alone(policy, key), rtol=1e-4, atol=1e-5)


def test_a_recording_shows_every_step() -> None:
    agent = toys.tiny_agent(env=toys.counting_env(low=-0.1, high=0.2))
    run = partial(record, agent, num_steps=12, sample=True)
    played = jax.jit(run)(policy_of(agent), jax.random.key(0))
    obs, action, reward, final_obs, ended = map(np.asarray, played[:5])
    start, t = obs.T
    np.testing.assert_array_equal(final_obs, np.stack([start, t + 1], axis=-1))
    np.testing.assert_allclose(reward, start + t, rtol=1e-6)
    np.testing.assert_array_equal(ended, t + 1 >= 3 + np.floor(5 * start))
    np.testing.assert_array_equal(t[1:], np.where(ended[:-1], 0, t[:-1] + 1))
    assert ended.any()
    assert action.shape == (12, 1)
    assert action.min() >= np.float32(-0.1)
    assert action.max() <= np.float32(0.2)


def test_on_an_accelerator_environments_are_stepped_as_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = toys.new_agent(RPO, patient_env(3, 3))
    other, traces = toys.new_agent(RPO, patient_env(3, 3)).env, []

    def step(*args: Any):
        traces.append(args)
        state, timestep = other.step(*args)
        return state, timestep._replace(reward=2 * timestep.reward, episode_return=2 * timestep.episode_return)

    agent = dataclasses.replace(agent, env=agent.env._replace(for_accelerator=other._replace(step=step)))
    policy, key = Policy(toys.random_params(agent), Moments(jnp.zeros(1), jnp.ones(1), jnp.ones(()))), jax.random.key(0)
    every = jax.tree.map(lambda x: x[None, None], policy)
    for platform, reward in (("cpu", 1.0), ("gpu", 2.0)):
        monkeypatch.setattr(episodes, "jax", SimpleNamespace(default_backend=lambda platform=platform: platform))
        assert evaluate(agent, policy, key, num_episodes=2).tolist() == [3 * reward] * 2
        assert episodes.evaluate_all(agent, every, key, 2, observation_clip=jnp.full(1, 10.0)).tolist() == [
            [[3 * reward] * 2]
        ]
        assert record(agent, policy, key, num_steps=2).reward.tolist() == [reward] * 2
    before = len(traces)
    evaluate(agent, policy, key, num_episodes=2)
    assert 0 < len(traces) == before  # nothing is compiled anew
