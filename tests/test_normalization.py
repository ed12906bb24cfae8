"""Running moments and reward scaling against NumPy over all the data at once."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rpo_jax import Hyperparams
from rpo_jax.algorithm import rollout as acting
from rpo_jax.algorithm import rpo
from rpo_jax.algorithm.normalization import (
    Moments,
    discounted_returns,
    initial_moments,
    normalize,
    scale_rewards,
    update_moments,
)

init = jax.jit(rpo.init, static_argnums=0)
collect_rollout = jax.jit(acting.collect_rollout, static_argnums=0)
estimate_advantages = jax.jit(rpo.estimate_advantages, static_argnums=0)
train_iteration = jax.jit(rpo.train_iteration, static_argnums=0)


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e3, 1.0), (-1e3, 50.0), (5.0, 1e-3)])
def test_merged_moments_are_those_of_all_the_data(offset: float, scale: float) -> None:
    random = np.random.default_rng(0)
    # The distribution drifts from round to round, so the means must be merged right.
    rounds = [
        (offset + scale * (index + random.normal(size=(7, 4, 3)) * [1, 2, 0.5])).astype(np.float32)
        for index in range(6)
    ]
    moments = initial_moments((3,))
    for samples in rounds:
        moments = update_moments(moments, jnp.asarray(samples))
    data = np.concatenate(rounds).reshape(-1, 3).astype(np.float64)
    assert moments.mean.shape == moments.variance.shape == (3,)
    assert moments.num_samples == len(data)
    np.testing.assert_allclose(moments.mean, data.mean(0), rtol=1e-6, atol=1e-5 * scale)
    np.testing.assert_allclose(moments.variance, data.var(0), rtol=2e-3)


def test_moments_of_scalars_have_no_axes() -> None:
    samples = np.random.default_rng(1).normal(3.0, 2.0, (5, 6)).astype(np.float32)
    moments = update_moments(initial_moments(), jnp.asarray(samples))
    assert moments.mean.shape == moments.variance.shape == moments.num_samples.shape == ()
    np.testing.assert_allclose([moments.mean, moments.variance], [samples.mean(), samples.var()], rtol=1e-5)


def test_the_environments_of_a_run_share_their_moments() -> None:
    agent = toys.tiny_agent(env=toys.counting_env())
    start = init(agent, Hyperparams(), jax.random.key(0))
    _, rollout = collect_rollout(agent, start, Hyperparams(), jax.random.key(1))
    state, batch = estimate_advantages(agent, start, rollout, Hyperparams())
    obs = np.asarray(rollout.obs, np.float64).reshape(-1, 2)
    np.testing.assert_allclose(state.obs_moments.mean, obs.mean(0), rtol=1e-5)
    np.testing.assert_allclose(state.obs_moments.variance, obs.var(0), rtol=1e-4)
    # The batch is normalised by the moments that the policy acted with, which knew nothing yet.
    np.testing.assert_array_equal(batch.obs, rollout.obs)


def test_the_next_round_acts_and_learns_with_the_moments_of_the_rounds_before() -> None:
    agent = toys.tiny_agent(env=toys.counting_env())
    state = init(agent, Hyperparams(), jax.random.key(0))
    state = state.replace(obs_moments=Moments(jnp.asarray([0.5, 2.0]), jnp.asarray([0.1, 4.0]), jnp.asarray(100.0)))
    _, rollout = collect_rollout(agent, state, Hyperparams(), jax.random.key(1))
    _, batch = estimate_advantages(agent, state, rollout, Hyperparams())
    expected = (np.asarray(rollout.obs) - [0.5, 2.0]) / np.sqrt([0.1, 4.0])
    np.testing.assert_allclose(batch.obs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("observations", "rewards"), [(True, False), (False, True)])
def test_moments_are_kept_only_where_they_are_used(observations: bool, rewards: bool) -> None:
    agent = toys.tiny_agent(normalize_observations=observations, normalize_rewards=rewards)
    state = init(agent, Hyperparams(), jax.random.key(0))
    state, _ = train_iteration(agent, Hyperparams(), state)
    samples = agent.config.round_timesteps
    assert state.obs_moments.num_samples == samples * observations
    assert state.return_moments.num_samples == samples * rewards


def test_no_samples_normalize_to_the_value_itself() -> None:
    x = np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_array_equal(normalize(initial_moments((3,)), jnp.asarray(x), 10.0), x)
    np.testing.assert_array_equal(scale_rewards(initial_moments(), jnp.asarray(x), 10.0), x)


def test_normalized_numbers_have_mean_0_and_deviation_1_and_are_clipped() -> None:
    samples = np.random.default_rng(3).normal([5.0, -100.0], [2.0, 0.1], (50, 8, 2)).astype(np.float32)
    moments = update_moments(initial_moments((2,)), jnp.asarray(samples))
    normalized = np.asarray(normalize(moments, jnp.asarray(samples), np.inf))
    np.testing.assert_allclose(normalized.mean((0, 1)), 0.0, atol=1e-3)
    np.testing.assert_allclose(normalized.std((0, 1)), 1.0, rtol=1e-3)
    clipped = normalize(moments, jnp.asarray(samples), 1.5)
    np.testing.assert_allclose(clipped, np.clip(normalized, -1.5, 1.5), rtol=1e-6)
    assert np.abs(clipped).max() == 1.5


def test_a_constant_observation_stays_finite() -> None:
    moments = update_moments(initial_moments((1,)), jnp.full((5, 2, 1), 3.0))
    np.testing.assert_array_equal(normalize(moments, jnp.full((1, 1), 3.0), 10.0), np.zeros((1, 1)))
    np.testing.assert_array_equal(normalize(moments, jnp.full((1, 1), 4.0), 10.0), np.full((1, 1), 10.0))


def numpy_returns(rewards: np.ndarray, ended: np.ndarray, gamma: float) -> np.ndarray:
    """R_t, set to 0 after the end of an episode, over the whole stretch [T, N]."""
    carry, result = np.zeros(rewards.shape[1]), []
    for reward, end in zip(rewards, ended, strict=True):
        carry = gamma * carry + reward
        result.append(carry)
        carry = np.where(end, 0.0, carry)
    return np.stack(result)


def test_discounted_returns_go_on_across_rounds_and_stop_at_ends() -> None:
    random = np.random.default_rng(4)
    rewards, ended = random.normal(size=(30, 3)), random.random((30, 3)) < 0.2
    carry, parts = jnp.zeros(3), []
    for cut in (slice(0, 7), slice(7, 19), slice(19, 30)):
        carry, returns = discounted_returns(carry, jnp.asarray(rewards[cut], jnp.float32), jnp.asarray(ended[cut]), 0.9)
        parts.append(returns)
    expected = numpy_returns(rewards, ended, 0.9)
    np.testing.assert_allclose(np.concatenate(parts), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(carry, np.where(ended[-1], 0.0, expected[-1]), rtol=1e-4, atol=1e-5)


def test_rewards_are_divided_by_the_deviation_of_the_discounted_return_and_clipped() -> None:
    """The recipe, transcribed over several rounds; with lambda 0 and values of 0 the targets are those rewards."""
    gamma, clip, rounds = 0.9, 0.8, 3
    hyperparams = Hyperparams(gamma=gamma, gae_lambda=0.0, reward_clip=clip)
    agent = toys.tiny_agent(env=toys.counting_env(), normalize_observations=False)
    state = init(agent, hyperparams, jax.random.key(0))
    state = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
    rewards, ended = np.zeros((0, 4)), np.zeros((0, 4), bool)
    clipped = 0
    for index in range(rounds):
        state, rollout = collect_rollout(agent, state.replace(update=index), hyperparams, jax.random.key(index))
        state, batch = estimate_advantages(agent, state, rollout, hyperparams)
        rewards = np.concatenate([rewards, np.asarray(rollout.reward, np.float64)])
        ended = np.concatenate([ended, np.asarray(rollout.ended)])
        deviation = numpy_returns(rewards, ended, gamma).std()
        expected = np.clip(np.asarray(rollout.reward) / deviation, -clip, clip)
        clipped += (expected == clip).sum()
        np.testing.assert_allclose(batch.target, expected, rtol=1e-4, atol=1e-5)
    assert 0 < clipped < rewards.size


def test_observations_are_clipped_where_the_policy_sees_them() -> None:
    agent = toys.tiny_agent(env=toys.counting_env())
    hyperparams = dataclasses.replace(Hyperparams(), observation_clip=0.25)
    state = init(agent, hyperparams, jax.random.key(0))
    _, rollout = collect_rollout(agent, state, hyperparams, jax.random.key(1))
    _, batch = estimate_advantages(agent, state, rollout, hyperparams)
    np.testing.assert_array_equal(batch.obs, np.clip(rollout.obs, -0.25, 0.25))
    assert np.abs(rollout.obs).max() > 2
