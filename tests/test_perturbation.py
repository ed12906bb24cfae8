"""The perturbation that makes RPO of PPO: its distribution, its effect, and that alpha = 0 takes it away."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
from scipy import stats

from rpo_jax import PPO, RPO, Hyperparams, Variant, get_variant, init, train
from rpo_jax.algorithm.heads import get_head
from rpo_jax.algorithm.perturbation import uniform
from rpo_jax.algorithm.rollout import collect_rollout
from rpo_jax.algorithm.types import Transition


@functools.cache
def trainer(variant: Variant, perturb_rollout: bool) -> Callable[..., Any]:
    return jax.jit(
        partial(train, toys.tiny_agent(variant, num_envs=256, num_steps=16, perturb_rollout=perturb_rollout))
    )


def run(variant: Variant, alpha: float, perturb_rollout: bool = False) -> Any:
    """Parameters and metrics of a whole short run."""
    hyperparams = Hyperparams(rpo_alpha=alpha, learning_rate=1e-2)
    state, metrics = trainer(variant, perturb_rollout)(hyperparams, jax.random.key(0))
    return state.params, metrics


def first_rollout(variant: Variant, **settings: Any) -> Transition:
    agent = toys.tiny_agent(variant, hidden_sizes=(), **settings)
    hyperparams = Hyperparams(rpo_alpha=0.7)

    @jax.jit
    def act() -> Transition:
        start = init(agent, hyperparams, jax.random.key(0))
        return collect_rollout(agent, start, hyperparams, jax.random.key(1))[1]

    return act()


def test_noise_is_uniform_within_plus_minus_1() -> None:
    noise = np.asarray(uniform(jax.random.key(0), (3000, 4)), np.float64)
    assert np.abs(noise).max() <= 1
    for column in noise.T:
        assert stats.kstest(column, stats.uniform(-1, 2).cdf).pvalue > 1e-3


def test_each_sample_and_dimension_has_a_draw_of_its_own() -> None:
    noise = np.asarray(uniform(jax.random.key(1), (50, 7, 3)))
    # float32 draws in [-1, 1) are multiples of 2^-23: among 1050, equal ones are unlikely, and no row repeats another.
    assert len(np.unique(noise)) > 1045
    correlations = np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)
    assert np.abs(correlations).max() < 0.2


def test_other_keys_give_other_noise() -> None:
    a, b = (uniform(jax.random.key(seed), (20,)) for seed in range(2))
    assert (a != b).all()


@pytest.mark.parametrize("name", ["rpo", "rpo-range", "rpo-sigma", "ppo"])
def test_alpha_0_shifts_nothing(name: str) -> None:
    agent = toys.tiny_agent(get_variant(name))
    loc, noise = jax.random.normal(jax.random.key(0), (100, 1)), uniform(jax.random.key(1), (100, 1))
    shifted = agent.perturb(loc, jnp.zeros(1), noise, Hyperparams(rpo_alpha=0.0))
    np.testing.assert_array_equal(shifted, loc)


def test_the_perturbation_costs_alpha_squared_over_6_variances() -> None:
    """E_z[log N(a; mu + z, sigma)] = log N(a; mu, sigma) - alpha^2 / (6 sigma^2)."""
    alpha, sigma = 0.8, 0.6
    action, loc = np.asarray([0.4, -1.0, 1.3]), np.asarray([0.1, -0.8, 0.5])
    offsets = alpha * uniform(jax.random.key(2), (200_000, 3))[:, :, None]
    samples = get_head("normal").log_prob(
        jnp.asarray(loc, jnp.float32)[:, None] + offsets,
        jnp.log(jnp.asarray([sigma])),
        jnp.broadcast_to(jnp.asarray(action, jnp.float32)[:, None], offsets.shape),
        jnp.ones(1),
    )
    expected = stats.norm.logpdf(action, loc, sigma) - alpha**2 / (6 * sigma**2)
    np.testing.assert_allclose(samples.mean(0), expected, atol=4 * np.asarray(samples).std() / 200_000**0.5)


@pytest.mark.parametrize("perturb_rollout", [False, True])
def test_rpo_with_alpha_0_is_ppo_bit_for_bit(perturb_rollout: bool) -> None:
    rpo = run(RPO, 0.0, perturb_rollout=perturb_rollout)
    ppo = run(PPO, 0.0, perturb_rollout=perturb_rollout)
    jax.tree.map(np.testing.assert_array_equal, rpo, ppo)


def test_ppo_has_no_use_for_alpha() -> None:
    jax.tree.map(np.testing.assert_array_equal, run(PPO, 0.5), run(PPO, 0.0))


def test_rpo_with_alpha_above_0_is_not_ppo() -> None:
    rpo, ppo = run(RPO, 1.0), run(PPO, 1.0)
    changes = jax.tree.map(
        lambda x, y: float(np.abs(x - y).max()), rpo[0]["params"]["policy"], ppo[0]["params"]["policy"]
    )
    assert min(jax.tree.leaves(changes)) > 1e-4


def test_the_first_kl_is_that_of_the_perturbation() -> None:
    """With a rate of 0 the policy stays, and r = p(a; mu + z) / p(a; mu): at sigma 1 the KL is E[z^2] / 2."""
    _, metrics = trainer(RPO, False)(Hyperparams(rpo_alpha=0.5, learning_rate=0.0), jax.random.key(0))
    np.testing.assert_allclose(metrics["approx_kl"][0], 0.5**2 / 6, rtol=0.1)


def test_without_perturb_rollout_the_first_rollout_is_that_of_ppo() -> None:
    rpo, ppo = first_rollout(RPO), first_rollout(PPO)
    np.testing.assert_array_equal(rpo.action, ppo.action)
    np.testing.assert_array_equal(rpo.log_prob, ppo.log_prob)


def test_with_perturb_rollout_actions_move_by_an_offset_each_and_log_probs_are_those_of_the_perturbed_policy() -> None:
    # On counting_env actions change nothing, so the two policies see the same observations.
    env = toys.counting_env(action_size=2)
    rpo, ppo = (first_rollout(variant, env=env, perturb_rollout=True) for variant in (RPO, PPO))
    offsets = np.asarray(rpo.action - ppo.action)
    assert len(np.unique(offsets)) > 0.9 * offsets.size
    assert 0.6 < np.abs(offsets).max() <= 0.7 + 1e-6
    np.testing.assert_allclose(rpo.log_prob, ppo.log_prob, rtol=1e-4, atol=1e-5)
