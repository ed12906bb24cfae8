"""Whole runs: what is in a rollout, runs side by side and alone, traces, and learning."""

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import toys
from scipy import stats

from rpo_jax import (
    Dynamics,
    Hyperparams,
    get_variant,
    grid,
    init,
    seeds,
    sweep,
    train,
    vectorize,
)
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.metrics import METRICS, rollout_metrics
from rpo_jax.algorithm.normalization import Moments
from rpo_jax.algorithm.rollout import collect_rollout
from rpo_jax.algorithm.types import Batch, TrainingState, Transition

# --- Acting ---

ENVS, STEPS, WINDOW = 32, 64, 32


@cache
def counted_rounds() -> list[Transition]:
    """Two rounds in a row of `counting_env`, two refreshes of the initial states each, and the observations after."""
    agent = toys.tiny_agent(env=toys.counting_env(), num_envs=ENVS, num_steps=STEPS)

    @jax.jit
    def act() -> list[Transition]:
        state = init(agent, Hyperparams(), jax.random.key(0))
        rounds = []
        for index in range(2):
            state, rollout = collect_rollout(agent, state.replace(update=index), Hyperparams(), jax.random.key(index))
            rounds.append(rollout)
        return rounds

    return jax.tree.map(np.asarray, act())


def counted() -> Transition:
    """The two rounds as one, [2 T, N, ...]."""
    return jax.tree.map(lambda *x: np.concatenate(x), *counted_rounds())


def test_transitions_follow_from_each_other_within_episodes_and_across_rounds() -> None:
    rollout = counted()
    goes_on = ~rollout.ended[:-1]
    np.testing.assert_array_equal(rollout.final_obs[:-1][goes_on], rollout.obs[1:][goes_on])
    assert 0.1 < rollout.ended.mean() < 0.35
    assert rollout.terminated.any()
    assert rollout.truncated.any()


def test_a_rollout_is_what_the_environment_does() -> None:
    rollout = counted()
    start, t = rollout.obs[..., 0], rollout.obs[..., 1]
    np.testing.assert_allclose(rollout.reward, start + t, rtol=1e-6)
    np.testing.assert_array_equal(rollout.final_obs, np.stack([start, t + 1], -1))
    ended = t + 1 >= 3 + np.floor(5 * start)
    np.testing.assert_array_equal(rollout.terminated, ended & (start < 0.5))
    np.testing.assert_array_equal(rollout.truncated, ended & (start >= 0.5))


def test_returns_and_lengths_are_those_of_the_episode_so_far() -> None:
    rollout = counted()
    total, length = np.zeros(ENVS), np.zeros(ENVS)
    for t in range(2 * STEPS):
        total, length = total + rollout.reward[t], length + 1
        np.testing.assert_allclose(rollout.episode_return[t], total, rtol=1e-5)
        np.testing.assert_array_equal(rollout.episode_length[t], length)
        total, length = np.where(rollout.ended[t], 0, total), np.where(rollout.ended[t], 0, length)


def test_a_run_begins_with_an_episode_of_its_own_in_every_environment() -> None:
    first, second = counted_rounds()
    assert len(np.unique(first.obs[0, :, 0])) == ENVS
    np.testing.assert_array_equal(first.obs[0, :, 1], np.zeros(ENVS))
    assert (second.obs[0, :, 1] > 0).any()


def test_an_environment_is_traced_once_however_many_runs_there_are() -> None:
    assert swept_agent("rpo")[1] == {"init": 1, "step": 1}


def test_an_episode_that_follows_another_starts_from_a_draw_of_its_own() -> None:
    rollout = counted()
    starts: dict[Any, list[float]] = {}
    for step, env in zip(*np.nonzero(rollout.ended[:-1]), strict=True):
        start, t = rollout.obs[step + 1, env]
        assert t == 0
        assert start != rollout.obs[0, env, 0]
        starts.setdefault((step // WINDOW, env), []).append(float(start))
    # An environment never meets a draw twice between two refreshes, however short its episodes.
    assert min(map(len, starts.values())) > 3
    assert all(len(set(draws)) == len(draws) for draws in starts.values())


def test_episodes_start_from_the_distribution_of_init_however_long_they_last() -> None:
    # Here a low start makes a short episode: a reserve that were used again would give too many of them.
    rollout = counted()
    starts = np.asarray(
        [rollout.obs[step + 1, env, 0] for step, env in zip(*np.nonzero(rollout.ended[:-1]), strict=True)]
    )
    assert stats.kstest(np.unique(starts), stats.uniform.cdf).pvalue > 1e-3
    assert starts.mean() == pytest.approx(0.5, abs=0.04)


def test_episode_metrics_are_means_over_the_episodes_that_ended() -> None:
    rollout, random = counted_rounds()[1], np.random.default_rng(0)
    values, targets = random.normal(size=(2, STEPS, ENVS)).astype(np.float32)
    batch = Batch(rollout.obs, rollout.action, rollout.log_prob, values, jnp.asarray(targets), jnp.asarray(values))
    metrics = rollout_metrics(jax.tree.map(jnp.asarray, rollout), batch)
    expected = {
        "episodes": rollout.ended.sum(),
        "episode_return": rollout.episode_return[rollout.ended].mean(),
        "episode_length": rollout.episode_length[rollout.ended].mean(),
        "broken_episodes": 0,
        "round_reward": rollout.reward.sum() / ENVS,
        "explained_variance": 1 - np.var(targets - values) / np.var(targets),
    }
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_actions_are_samples_of_the_policy_and_reach_the_environment_clipped() -> None:
    agent = toys.tiny_agent(num_envs=64, num_steps=16)
    mean, variance = np.asarray([0.2, 0.9]), np.asarray([0.5, 0.04])

    @jax.jit
    def act() -> Transition:
        state = init(agent, Hyperparams(), jax.random.key(0))
        moments = Moments(*(jnp.asarray(x, jnp.float32) for x in (mean, variance, 10.0)))
        state = state.replace(params=toys.random_params(agent, scale=0.6), obs_moments=moments)
        return collect_rollout(agent, state, Hyperparams(), jax.random.key(1))[1]

    rollout, parts = oracles.float64((act(), toys.random_params(agent, scale=0.6)["params"]))
    loc = oracles.mlp(parts["policy"], (rollout.obs - mean) / np.sqrt(variance))
    scale = np.exp(parts["log_scale"])
    np.testing.assert_allclose(
        rollout.log_prob, stats.norm.logpdf(rollout.action, loc, scale).sum(-1), rtol=1e-4, atol=1e-4
    )
    assert stats.kstest(((rollout.action - loc) / scale).ravel(), stats.norm.cdf).pvalue > 1e-3
    moved = rollout.final_obs[..., 0] - rollout.obs[..., 0]
    np.testing.assert_allclose(moved, 0.5 * np.clip(rollout.action[..., 0], -1, 1), atol=1e-5)
    assert np.abs(rollout.action).max() > 1.5


def test_reset_every_round_begins_each_round_with_new_episodes() -> None:
    # Episodes take 3 steps or more and rounds 2, so that none ends.
    agent = toys.tiny_agent(env=toys.counting_env(), updates=4, num_steps=2, reset_every_round=True)
    state, metrics = jax.jit(partial(train, agent))(Hyperparams(), jax.random.key(0))
    np.testing.assert_array_equal(metrics["episodes"], np.zeros(4))
    assert np.isnan(metrics["episode_return"]).all()
    assert np.isnan(metrics["episode_length"]).all()
    np.testing.assert_array_equal(state.obs[:, 1], np.full(4, 2.0))


def test_reset_every_round_draws_other_episodes_and_forgets_the_discounted_return() -> None:
    agent = toys.tiny_agent(env=toys.counting_env(), num_steps=2, reset_every_round=True)

    @jax.jit
    def act(index: int) -> tuple[TrainingState, Transition]:
        state = init(agent, Hyperparams(), jax.random.key(0)).replace(discounted_return=jnp.full(4, 7.0))
        return collect_rollout(agent, state.replace(update=index), Hyperparams(), jax.random.key(index))

    starts = []
    for index in range(2):
        acted, rollout = act(index)
        np.testing.assert_array_equal(acted.discounted_return, np.zeros(4))
        starts.append(np.asarray(rollout.obs[0, :, 0]))
    assert len(np.unique(starts)) == 8


# --- Runs side by side ---

BASE = Hyperparams(
    learning_rate=3e-3, value_learning_rate=2e-3, entropy_coefficient=0.01, target_kl=1e3, rpo_alpha_end=0.2
)
TWO_VALUES = {
    "learning_rate": (1e-3, 1e-2),
    "value_learning_rate": (1e-3, 1e-2),
    "gamma": (0.9, 0.99),
    "gae_lambda": (0.5, 0.95),
    "clip_epsilon": (0.05, 0.4),
    "value_coefficient": (0.1, 1.0),
    "entropy_coefficient": (0.0, 0.1),
    "max_grad_norm": (0.01, np.inf),
    "rpo_alpha": (0.0, 0.5),
    "target_kl": (1e-6, np.inf),
    "adam_epsilon": (1e-8, 1e-2),
    "observation_clip": (0.1, 10.0),
    "reward_clip": (0.1, np.inf),
    "rpo_alpha_end": (0.0, 0.5),
    "augmentation_low": (0.5, 0.9),
    "augmentation_high": (1.1, 2.0),
    "drac_coefficient": (0.0, 1.0),
    "log_std": (-0.5, 0.5),
    "min_log_std": (0.1, 0.5),
}
OWNERS = {"drac_coefficient": "drac", "log_std": "ppo-constant-std", "min_log_std": "ppo-min-std"}
OWNERS |= dict.fromkeys(("augmentation_low", "augmentation_high"), "drac")  # and RAD; of the others it is RPO
traces = []  # of a reset


@cache
def swept_agent(variant: str) -> tuple[Agent, dict[str, int]]:
    """An agent for all of these tests, and how often a sweep of two by two runs has traced its environment."""
    traced, toy = {"init": 0, "step": 0}, toys.reaching_dynamics()

    def count(name: str, *args: Any) -> Any:
        traced[name] += 1
        return getattr(toy, name)(*args)

    dynamics = Dynamics(partial(count, "init"), partial(count, "step"))
    env = vectorize(dynamics, name="toy/counted", observation_size=2, **toys.bounds(-1.0, 1.0))

    def reset(keys: jax.Array) -> Any:
        traces.append(len(keys))
        return env.reset(keys)

    agent = toys.tiny_agent(get_variant(variant), env._replace(reset=reset), updates=3, num_steps=64)
    sweep(agent, grid(BASE, rpo_alpha=[0.1, 0.2]), seeds(0, 2))
    return agent, dict(traced)


def shared_agent(variant: str = "rpo") -> Agent:
    return swept_agent(variant)[0]


@cache
def train_alone(variant: str) -> Callable[[Hyperparams, jax.Array], Any]:
    """One run by itself, compiled once for all of these tests."""

    @chex.assert_max_traces(n=1)
    def run(hyperparams: Hyperparams, key: jax.Array) -> Any:
        return train(shared_agent(variant), hyperparams, key)

    chex.clear_trace_counter()
    return jax.jit(run)


def setting(hyperparams: Hyperparams, index: int) -> Hyperparams:
    return jax.tree.map(lambda x: x[index], hyperparams)


@jax.jit
def run_of(results: Any, h: int, s: int) -> Any:
    return jax.tree.map(lambda x: x[h, s], results)


def assert_same_run(result: Any, expected: Any) -> None:
    """The same stream of random numbers, and the same run but for the order in which sums are taken."""
    (state, metrics), (expected_state, expected_metrics) = result, expected
    np.testing.assert_array_equal(jax.random.key_data(state.key), jax.random.key_data(expected_state.key))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=5e-6)
    jax.tree.map(close, state.params, expected_state.params)
    jax.tree.map(close, state.obs, expected_state.obs)
    jax.tree.map(close, metrics, expected_metrics)


def test_a_run_of_a_sweep_is_that_run_alone() -> None:
    settings = grid(BASE, rpo_alpha=[0.1, 0.7])
    states, metrics = sweep(shared_agent(), settings, seeds(5, 2))
    for h in range(2):
        for s in range(2):
            alone = train_alone("rpo")(setting(settings, h), jax.random.key(5 + s))
            assert_same_run(run_of((states, metrics), h, s), alone)
    # And no two runs are the same.
    flat = np.asarray(jax.tree.leaves(states.params)[-1]).reshape(4, -1)
    assert len(np.unique(flat, axis=0)) == 4


def test_metrics_have_one_row_per_update() -> None:
    state, metrics = train_alone("rpo")(setting(grid(BASE), 0), jax.random.key(0))
    assert metrics.keys() == METRICS.keys()
    assert {x.shape for x in metrics.values()} == {(3,)}
    assert state.update == 3


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Hyperparams)])
def test_every_hyperparameter_can_be_swept(name: str) -> None:
    settings, variant = grid(BASE, **{name: TWO_VALUES[name]}), OWNERS.get(name, "rpo")
    runs = sweep(shared_agent(variant), settings, seeds(0, 2))
    for h in range(2):
        alone = train_alone(variant)(setting(settings, h), jax.random.key(0))
        assert_same_run(run_of(runs, h, 0), alone)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(runs[0].params))
    assert any((leaf[0] != leaf[1]).any() for leaf in jax.tree.leaves(runs[0].params))


def test_other_numbers_and_seeds_do_not_retrace() -> None:
    sweep(shared_agent(), grid(BASE, gamma=[0.9, 0.99]), seeds(0, 2))
    train_alone("rpo")(setting(grid(BASE), 0), jax.random.key(0))
    before = len(traces)
    sweep(shared_agent(), grid(BASE, rpo_alpha=[0.0, 0.3]), seeds(7, 2))
    # `train_alone` allows one trace, whatever it is called with.
    for seed, rate in ((0, 1e-3), (1, 1e-2)):
        train_alone("rpo")(setting(grid(BASE, learning_rate=rate), 0), jax.random.key(seed))
    assert len(traces) == before
