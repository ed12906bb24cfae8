"""Probe environments: tasks so small that their values and best actions are known in closed form.

Each fails for its own reason: the value's loss, its inputs, the discount, the policy's gradient, the time limit.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rpo_jax import (
    RPO,
    Dynamics,
    Environment,
    Hyperparams,
    Successor,
    make_agent,
    terminate_at_time_limit,
    train,
    vectorize,
)
from rpo_jax.algorithm.agent import Agent

GAMMA = 0.8
NEVER = jnp.zeros((), bool)
SIGNS = np.asarray([-1.0, 1.0])


def probe(init: Callable[..., Any], step: Callable[..., Any]) -> Environment:
    """An environment of one observation and one action, within bounds too wide to matter."""
    return vectorize(Dynamics(init, step), name="probe", observation_size=1, **toys.bounds(-10.0, 10.0))


def probe_agent(env: Environment) -> Agent:
    """Trains without any normalisation of observations and rewards."""
    sizes = {"num_envs": 16, "num_steps": 10, "num_epochs": 4, "num_minibatches": 1}
    return make_agent(env, RPO, toys.tiny_config(150, **sizes, normalize_observations=False, normalize_rewards=False))


def numbers(**values: Any) -> Hyperparams:
    return Hyperparams(**{"gamma": GAMMA, "learning_rate": 2e-2, "rpo_alpha": 0.2} | values)


def learn_values(env: Environment, gae_lambdas: np.ndarray, *obs: float) -> np.ndarray:
    """The values of observations, learned with each lambda [lambdas, observations]."""
    agent = probe_agent(env)

    def run(gae_lambda: jax.Array) -> jax.Array:
        state, _ = train(agent, numbers(gae_lambda=gae_lambda), jax.random.key(0))
        return agent.value(state.params, jnp.asarray(obs)[:, None])

    return np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(gae_lambdas, jnp.float32)))


# One step from an observation of -1 or 1, and the end.
# The reward is `constant + slope * obs - weight * (action - best - tilt * obs)^2`.
ONE_STEP = {
    "the reward is constant": (1.0, 0.0, 0.0, 0.0, 0.0),
    "the reward depends on the observation": (0.0, 1.5, 0.0, 0.0, 0.0),
    "the reward depends on the action": (0.0, 0.0, 1.0, 0.7, 0.0),
    "the reward depends on both": (0.5, 0.0, 1.0, 0.0, 0.5),
}


@cache
def one_step_results() -> Any:
    """All four tasks, by PPO (alpha = 0) and RPO, in one call: means, variances, values [tasks, 2, ...]."""

    def run(task: jax.Array, alpha: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        constant, slope, weight, best, tilt = task

        def init(key: jax.Array):
            sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
            return sign, sign[None]

        def step(key: jax.Array, sign: jax.Array, action: jax.Array):
            reward = constant + slope * sign - weight * (action[0] - best - tilt * sign) ** 2
            return sign, Successor(sign[None], reward, ~NEVER, NEVER)

        agent = probe_agent(probe(init, step))
        params = train(agent, numbers(rpo_alpha=alpha), jax.random.key(0))[0].params
        obs = jnp.asarray(SIGNS, jnp.float32)[:, None]
        loc, log_scale = agent.act(params, obs)
        return loc[:, 0], jnp.exp(2 * log_scale), agent.value(params, obs)

    tasks, alphas = jnp.asarray([*ONE_STEP.values()]), jnp.asarray([0.0, 0.2])
    both = jax.vmap(jax.vmap(run, (None, 0)), (0, None))
    return jax.tree.map(np.asarray, jax.jit(both)(tasks, alphas))


@pytest.mark.parametrize("variant", [0, 1], ids=["ppo", "rpo"])
@pytest.mark.parametrize("task", ONE_STEP)
def test_one_step_is_solved_where(task: str, variant: int) -> None:
    mean, variance, value = (x[list(ONE_STEP).index(task), variant] for x in one_step_results())
    constant, slope, weight, best, tilt = ONE_STEP[task]
    best_action = best + tilt * SIGNS
    if weight:
        np.testing.assert_allclose(mean, best_action, atol=0.05)
    expected = constant + slope * SIGNS - weight * (variance + (mean - best_action) ** 2)
    np.testing.assert_allclose(value, expected, atol=0.01)


def test_a_reward_that_comes_a_step_later_is_discounted_once() -> None:
    def init(key: jax.Array):
        return jnp.zeros(()), jnp.zeros(1)

    def step(key: jax.Array, t: jax.Array, action: jax.Array):
        return t + 1, Successor((t + 1)[None], t, t == 1, NEVER)

    for values in learn_values(probe(init, step), np.asarray([0.0, 0.95]), 0.0, 1.0):
        np.testing.assert_allclose(values, [GAMMA, 1.0], atol=0.01)


LAMBDAS = np.asarray([0.0, 0.9, 1.0])


def endless(limit: int) -> Environment:
    """A reward of 1 at each step of a task without an end, cut off by a time limit that no observation shows."""

    def init(key: jax.Array):
        return jnp.zeros((), jnp.int32), jnp.ones(1)

    def step(key: jax.Array, t: jax.Array, action: jax.Array):
        return t + 1, Successor(jnp.ones(1), jnp.ones(()), NEVER, t + 1 >= limit)

    return probe(init, step)


def test_a_time_limit_does_not_change_the_value_of_an_endless_task() -> None:
    values = learn_values(endless(5), LAMBDAS, 1.0)
    np.testing.assert_allclose(values, 1 / (1 - GAMMA), rtol=0.01)


def test_a_time_limit_that_terminates_gives_the_finite_horizon_value() -> None:
    """Targets with k steps left: T_1 = 1, T_k = 1 + gamma ((1 - lambda) V + lambda T_{k-1}); V is their mean over k."""
    values = learn_values(terminate_at_time_limit(endless(5)), LAMBDAS, 1.0)
    for value, lam in zip(values[:, 0], LAMBDAS, strict=True):
        # T_k is a + b V: iterate both parts, then solve V = mean(a) + mean(b) V.
        a, b = [1.0], [0.0]
        for _ in range(4):
            a.append(1 + GAMMA * lam * a[-1])
            b.append(GAMMA * (1 - lam) + GAMMA * lam * b[-1])
        np.testing.assert_allclose(value, np.mean(a) / (1 - np.mean(b)), rtol=0.01)
