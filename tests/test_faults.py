"""What is not finite: a run that diverges is held where it was, a simulator that breaks loses an episode."""

from functools import partial
from importlib.metadata import version
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import toys
from hypothesis import given, settings

import rpo_jax
from rpo_jax import Dynamics, Environment, Successor, fit, grid, seeds, sweep, vectorize
from rpo_jax.algorithm.divergence import fault_of, first_fault
from rpo_jax.algorithm.rollout import collect_rollout
from rpo_jax.algorithm.types import FAULTS
from rpo_jax.envs.pool import Outcome, cut_where_broken
from rpo_jax.envs.wrappers import suite_state

# A diverging run


def test_a_diverging_run_stays_as_it_was_and_the_others_never_know():
    agent = toys.tiny_agent(rpo_jax.RPO, updates=6)
    states, metrics = sweep(agent, grid(learning_rate=[1e-3, 1e6]), seeds(0, 2))
    others, expected = sweep(agent, grid(learning_rate=[1e-3, 2e-3]), seeds(0, 2))
    for name, values in expected.items():
        np.testing.assert_array_equal(metrics[name][0], values[0], err_msg=name)
        assert np.isnan(metrics[name][1]).all()
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[0], y[0]), states.policy, others.policy)
    first = "gradient" if version("jaxlib").startswith("0.10.") else "loss"  # which of them overflows, as it is rounded
    np.testing.assert_array_equal(states.fault, [[0, 0], [FAULTS.index(first)] * 2])
    np.testing.assert_array_equal(states.update, [[6, 6], [0, 0]])
    start = jax.jit(jax.vmap(partial(rpo_jax.init, agent, rpo_jax.Hyperparams())))(seeds(0, 2))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x[1], y, rtol=1e-6), states.policy, start.policy)


def test_what_was_learned_before_the_fault_is_kept():
    """Its rewards become infinite in the third round."""

    def init(key: jax.Array):
        return jnp.zeros((), jnp.int32), jnp.zeros(1)

    def step(key: jax.Array, state: Any, action: jax.Array):
        reward = jnp.where(state >= 16, 3e38, -(action[0] ** 2))  # two of them have no float32 mean
        return state + 1, Successor(jnp.ones(1), reward, jnp.bool_(False), jnp.bool_(False))

    env = vectorize(Dynamics(init, step), name="toy/rich", observation_size=1, **toys.bounds(-1.0, 1.0))
    agent = toys.tiny_agent(env=env, updates=4, hidden_sizes=())
    two, four = (fit(agent, grid(), seeds(0, 1), lambda progress, n=n: progress.updates < n) for n in (2, 4))
    assert two.interrupted
    assert two.state.update[0, 0] == 2
    assert FAULTS[four.state.fault[0, 0]] == "rewards"
    assert four.state.update[0, 0] == 2
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y), four.state.policy, two.state.policy)
    np.testing.assert_array_equal(np.isnan(four.metrics["policy_loss"][0, 0]), [False, False, True, True])


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=6))
@settings(deadline=None, max_examples=40)
def test_the_first_fault_is_the_first(rows):
    names = ("loss", "gradient", "parameters")
    faults = fault_of(**dict(zip(names, np.asarray(rows).T, strict=True)))
    expected = next((name for row in rows for name, finite in zip(names, row, strict=True) if not finite), "none")
    assert FAULTS[first_fault(faults)] == expected


# A simulator that breaks


BAD = jnp.array([jnp.nan, jnp.inf, -jnp.inf])


def breaking_env() -> Environment:
    """Counts, obs = t, reward = t; the fifth step gives one of `BAD` in the one or the other, as the key tells."""

    def init(key: jax.Array):
        return (jnp.zeros(()), jax.random.randint(key, (), 0, 6)), jnp.zeros(1)

    def step(key: jax.Array, state: Any, action: jax.Array):
        t, kind = state[0] + 1, state[1]
        bad = jnp.where(t == 5, BAD[kind % 3], t)
        obs, reward = (jnp.where(kind // 3 == where, bad, t) for where in range(2))
        return (bad, kind), Successor(obs[None], reward, jnp.bool_(False), jnp.bool_(False))

    return vectorize(Dynamics(init, step), name="toy/breaking", observation_size=1, **toys.bounds(-1.0, 1.0))


def test_a_broken_simulator_costs_an_episode_and_is_counted():
    agent = toys.tiny_agent(env=breaking_env(), num_envs=24, num_steps=12, updates=3, hidden_sizes=())
    env_state, _ = agent.env.reset(jax.random.split(jax.random.key(2), 24))
    assert len(np.unique(suite_state(env_state)[1])) == 6
    state = rpo_jax.init(agent, rpo_jax.Hyperparams(), jax.random.key(0)).replace(env_state=env_state)
    roll = jax.jit(lambda state: collect_rollout(agent, state, rpo_jax.Hyperparams(), jax.random.key(1))[1])
    rollout = jax.device_get(roll(state))
    broken = np.arange(12) % 5 == 4
    for n in range(24):
        np.testing.assert_array_equal(rollout.broken[:, n], broken)
        np.testing.assert_array_equal(rollout.truncated[:, n], broken)
        np.testing.assert_array_equal(rollout.obs[:, n, 0], np.arange(12) % 5)
        np.testing.assert_array_equal(rollout.final_obs[:, n, 0], np.where(broken, 4, np.arange(12) % 5 + 1))
        np.testing.assert_array_equal(rollout.reward[:, n], np.where(broken, 0, np.arange(12) % 5 + 1))
    assert not rollout.terminated.any()
    states, metrics = sweep(agent, grid(), seeds(0, 1))
    np.testing.assert_array_equal(metrics["broken_episodes"][0, 0], [24 * 2, 24 * 2, 24 * 3])
    np.testing.assert_array_equal(metrics["episodes"], metrics["broken_episodes"])
    np.testing.assert_allclose(states.obs_moments.mean[0, 0, 0], np.mean(np.arange(36) % 5), rtol=1e-5)
    assert np.isfinite(metrics["policy_loss"]).all()


class BreakingPool(toys.CountingPool):
    """Its second environment breaks at t = 2, in its reward."""

    def step(self, action: np.ndarray) -> Outcome:
        _, reward, terminated, truncated, final_obs = super().step(action)
        reward[1] = np.where(self.time[1] == 2, np.nan, reward[1])
        final_obs, reward, terminated, truncated = cut_where_broken(final_obs, reward, terminated, truncated)
        self.time[terminated | truncated] = 0
        return Outcome(self._obs(), reward, terminated, truncated, final_obs)


def test_one_on_the_host_too():
    agent = toys.tiny_agent(
        env=toys.host_env(BreakingPool), num_envs=3, num_minibatches=3, num_steps=6, hidden_sizes=()
    )
    state, metrics = sweep(agent, grid(), seeds(0, 1), devices=jax.devices()[:1])
    assert (np.asarray(metrics["broken_episodes"]) >= 2).all()  # of six steps, every second or third
    assert np.isfinite(np.asarray(metrics["policy_loss"])).all()
    assert np.isfinite(state.obs_moments.mean).all()


def test_a_beginning_that_is_broken_is_replaced_by_another():
    """A third of the episodes would begin with NaN; none does, and the others begin as they would."""

    def init(key: jax.Array):
        x = jax.random.uniform(key, (1,))
        return (x, jnp.zeros(())), jnp.where(x < 1 / 3, jnp.nan, x)

    def step(key: jax.Array, state: Any, action: jax.Array):
        x, t = state
        return (x, t + 1), Successor(x, x[0], jnp.bool_(False), t >= 2)

    env = vectorize(Dynamics(init, step), name="toy/stillborn", observation_size=1, **toys.bounds(-1.0, 1.0))
    keys = jax.random.split(jax.random.key(3), 64)
    first = np.asarray(jax.vmap(init)(keys)[1])
    state, obs = env.reset(keys)
    broken = np.isnan(first)
    assert 10 < broken.sum() < 40
    np.testing.assert_array_equal(np.asarray(obs)[~broken], first[~broken])
    np.testing.assert_array_equal(np.asarray(obs)[broken], first[~broken][0])
    np.testing.assert_array_equal(state[0], np.asarray(obs).T)
    states, metrics = sweep(toys.tiny_agent(env=env, updates=6, hidden_sizes=()), grid(), seeds(0, 4))
    assert not np.asarray(states.fault).any()
    assert np.isfinite(metrics["policy_loss"]).all()


def test_what_is_too_large_for_float32_breaks_too():
    obs, reward, _, truncated = cut_where_broken(
        np.array([[1.0], [1e39]]), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool)
    )
    np.testing.assert_array_equal(truncated, [False, True])
    *_, truncated = cut_where_broken(np.ones(1), -1e39, False, False)
    assert truncated
    assert obs.dtype == reward.dtype == np.float32


def test_a_policy_that_breaks_the_simulator_is_not_the_best():
    """Each step costs 1, and a positive action breaks it: episodes that break at once cost the least."""

    def init(key: jax.Array):
        return jnp.zeros((), jnp.int32), jnp.ones(1)

    def step(key: jax.Array, state: Any, action: jax.Array):
        return state + 1, Successor(jnp.ones(1), jnp.where(action[0] > 0, jnp.nan, -1.0), jnp.bool_(False), state >= 9)

    env = vectorize(
        Dynamics(init, step), name="toy/fragile", observation_size=1, time_limit=10, **toys.bounds(-1.0, 1.0)
    )
    agent = toys.tiny_agent(env=env, updates=6, normalize_observations=False, hidden_sizes=())
    evaluation = rpo_jax.Evaluation(2, 2, jax.random.key(0))
    result = rpo_jax.fit(agent, grid(learning_rate=[1e-9]), seeds(0, 6), evaluation=evaluation)
    assert result.evaluated is not None
    means = result.evaluated.returns.mean(-1)
    assert np.isnan(means).any()
    assert (means[~np.isnan(means)] == -10).all()
    sound = ~np.isnan(means).all(-1)
    assert sound.any()
    np.testing.assert_array_equal(result.evaluated.best_return, np.where(sound, -10, -np.inf))
    for seed in np.flatnonzero(sound[0]):
        policy = jax.tree.map(lambda x, seed=seed: x[0, seed], result.evaluated.best)
        assert (rpo_jax.evaluate(agent, policy, jax.random.key(1), 2) == -10).all()
    broken = result.metrics["broken_episodes"] == result.metrics["episodes"]
    np.testing.assert_array_equal(np.isnan(result.metrics["episode_return"]), broken)


def test_what_is_sound_is_left_as_it_is():
    arrays = (
        np.ones((3, 2), np.float32),
        np.ones(3, np.float32),
        np.array([True, False, False]),
        np.array([False, False, True]),
    )
    assert all(x is y for x, y in zip(cut_where_broken(*arrays), arrays, strict=True))
    obs, reward, terminated, truncated = cut_where_broken(np.array([1.0, np.inf]), 2.0, True, False)
    assert np.isnan(obs).all()
    assert (reward, terminated, truncated) == (0, False, True)
