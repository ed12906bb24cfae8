"""Generalised advantages against sums written out from the paper's definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpo_jax.algorithm.advantages import generalized_advantage_estimation

ROUND = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def random_round(seed: int, steps: int = 21, envs: int = 5, end_share: float = 0.25) -> ROUND:
    random = np.random.default_rng(seed)
    rewards, values, next_values = random.normal(size=(3, steps, envs)).astype(np.float32)
    ended = random.random((steps, envs)) < end_share
    terminated = ended & (random.random((steps, envs)) < 0.5)
    # Within an episode the successor of a step is the next observation, so the values agree.
    next_values[:-1] = np.where(ended[:-1], next_values[:-1], values[1:])
    return rewards, values, next_values, terminated, ended


def forward_sum(data: ROUND, gamma: float, lam: float) -> np.ndarray:
    """A_t = sum_k (gamma lambda)^k delta_{t+k}, up to and with the step that ends the episode."""
    rewards, values, next_values, terminated, ended = data
    result = np.zeros(rewards.shape)
    for n in range(rewards.shape[1]):
        for t in range(len(rewards)):
            for k in range(len(rewards) - t):
                future = 0.0 if terminated[t + k, n] else next_values[t + k, n]
                delta = rewards[t + k, n] + gamma * future - values[t + k, n]
                result[t, n] += (gamma * lam) ** k * delta
                if ended[t + k, n]:
                    break
    return result


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (0.9, 0.5), (1.0, 1.0), (0.0, 0.9), (0.7, 0.0)])
@pytest.mark.parametrize("seed", range(3))
def test_advantages_are_the_discounted_sum_of_td_errors(seed: int, gamma: float, lam: float) -> None:
    data = random_round(seed)
    advantages, targets = generalized_advantage_estimation(*map(jnp.asarray, data), gamma=gamma, gae_lambda=lam)
    expected = forward_sum(data, gamma, lam)
    np.testing.assert_allclose(advantages, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(targets, expected + data[1], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("bootstrap", [True, False], ids=["truncated", "terminated"])
def test_lambda_1_gives_monte_carlo_returns(bootstrap: bool) -> None:
    gamma, steps = 0.9, 7
    random = np.random.default_rng(3)
    rewards, values, next_values = random.normal(size=(3, steps, 1))
    ended = np.arange(steps)[:, None] == steps - 1
    # Values between must cancel, which they do where the successor's value is that of the next observation.
    next_values[:-1] = values[1:]
    _, targets = generalized_advantage_estimation(
        *(jnp.asarray(x, jnp.float32) for x in (rewards, values, next_values)),
        terminated=jnp.asarray(ended & (not bootstrap)),
        ended=jnp.asarray(ended),
        gamma=gamma,
        gae_lambda=1.0,
    )
    last = next_values[-1, 0] if bootstrap else 0.0
    for t in range(steps):
        left = steps - t
        expected = (gamma ** np.arange(left) * rewards[t:, 0]).sum() + gamma**left * last
        np.testing.assert_allclose(targets[t, 0], expected, rtol=1e-5, atol=1e-5)


def test_lambda_0_gives_one_step_td_errors() -> None:
    rewards, values, next_values, terminated, _ = data = random_round(4)
    advantages, _ = generalized_advantage_estimation(*map(jnp.asarray, data), gamma=0.9, gae_lambda=0.0)
    expected = rewards + 0.9 * np.where(terminated, 0.0, next_values) - values
    np.testing.assert_allclose(advantages, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("terminates", "expected"), [(True, 1.0), (False, 1.0 + 0.5 * 10.0)])
def test_truncation_bootstraps_and_termination_does_not(terminates: bool, expected: float) -> None:
    row = jnp.ones((1, 1))
    end = jnp.ones((1, 1), bool)
    _, targets = generalized_advantage_estimation(row, 3 * row, 10 * row, end & terminates, end, 0.5, 0.9)
    assert float(targets[0, 0]) == expected


@pytest.mark.parametrize("terminates", [True, False])
def test_nothing_flows_back_over_the_end_of_an_episode(terminates: bool) -> None:
    data = [jnp.asarray(x) for x in random_round(5, steps=6, envs=1, end_share=0.0)]
    data[4] = data[4].at[2].set(True)
    data[3] = data[3].at[2].set(terminates)
    before, _ = generalized_advantage_estimation(*data, gamma=0.99, gae_lambda=0.95)
    data[0] = data[0].at[3:].add(100.0)
    after, _ = generalized_advantage_estimation(*data, gamma=0.99, gae_lambda=0.95)
    np.testing.assert_array_equal(before[:3], after[:3])
    assert (np.abs(after[3:] - before[3:]) > 10).all()


def test_values_after_a_termination_do_not_matter_even_if_not_finite() -> None:
    rewards, values, next_values, terminated, ended = map(jnp.asarray, random_round(6))
    poisoned = jnp.where(terminated, jnp.nan, next_values)
    advantages, _ = generalized_advantage_estimation(rewards, values, poisoned, terminated, ended, 0.99, 0.95)
    assert np.isfinite(advantages).all()


def test_jitted_equals_eager() -> None:
    data = tuple(map(jnp.asarray, random_round(7)))
    eager = generalized_advantage_estimation(*data, gamma=0.99, gae_lambda=0.95)
    jitted = jax.jit(generalized_advantage_estimation)(*data, gamma=0.99, gae_lambda=0.95)
    for x, y in zip(eager, jitted, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6)
