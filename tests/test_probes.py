"""Probe environments: tasks so small that their values and best actions are known in closed form.

Each fails for its own reason: the value's loss, its inputs, the discount, the policy's gradient, the time limit.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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
from rpo_jax.agent import Agent

GAMMA = 0.8
NEVER = jnp.zeros((), bool)
ALPHAS = jnp.asarray([0.0, 0.2])  # PPO and RPO, side by side
LAMBDAS = jnp.asarray([0.0, 0.9, 1.0])


def probe(init: Callable[..., Any], step: Callable[..., Any]) -> Environment:
    """An environment of one observation and one action, within bounds too wide to matter."""
    return vectorize(Dynamics(init, step), name="probe", observation_size=1, **toys.bounds(-10.0, 10.0))


def one_step(reward: Callable[[jax.Array, jax.Array], jax.Array]) -> Environment:
    """Observation -1 or 1, a reward of it and the action, and the end."""

    def init(key: jax.Array):
        sign = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
        return sign, sign[None]

    def step(key: jax.Array, sign: jax.Array, action: jax.Array):
        return sign, Successor(sign[None], reward(sign, action[0]), ~NEVER, NEVER)

    return probe(init, step)


def learn(env: Environment, updates: int = 150, **numbers: Any) -> tuple[Agent, Any]:
    """Parameters after training without any normalisation of observations and rewards."""
    config = toys.tiny_config(
        updates,
        num_envs=16,
        num_steps=10,
        num_epochs=4,
        num_minibatches=1,
        normalize_observations=False,
        normalize_rewards=False,
    )
    agent = make_agent(env, RPO, config)
    hyperparams = Hyperparams(**{"gamma": GAMMA, "learning_rate": 2e-2, "rpo_alpha": 0.2} | numbers)
    # Leaves that are arrays are settings, to train side by side.
    axes = jax.tree.map(lambda x: 0 if np.ndim(x) else None, hyperparams)
    run = partial(train, agent)
    if 0 in jax.tree.leaves(axes):
        run = jax.vmap(run, in_axes=(axes, None))
    state, _ = jax.jit(run)(hyperparams, jax.random.key(0))
    return agent, state.params


def pick(params: Any, index: int) -> Any:
    """Of the settings trained side by side, one."""
    return jax.tree.map(lambda x: x[index], params)


def values(agent: Agent, params: Any, *obs: float) -> np.ndarray:
    return np.asarray(agent.evaluate(params, jnp.asarray(obs)[:, None]))


def means(agent: Agent, params: Any, *obs: float) -> np.ndarray:
    return np.asarray(agent.act(params, jnp.asarray(obs)[:, None])[0][:, 0])


def test_the_value_of_a_constant_reward_is_that_reward() -> None:
    agent, params = learn(one_step(lambda sign, action: jnp.ones(())))
    np.testing.assert_allclose(values(agent, params, -1, 1), 1.0, atol=0.02)


def test_the_value_depends_on_the_observation() -> None:
    agent, params = learn(one_step(lambda sign, action: 1.5 * sign))
    np.testing.assert_allclose(values(agent, params, -1, 1), [-1.5, 1.5], atol=0.03)


def test_a_reward_that_comes_a_step_later_is_discounted_once() -> None:
    def init(key: jax.Array):
        return jnp.zeros(()), jnp.zeros(1)

    def step(key: jax.Array, t: jax.Array, action: jax.Array):
        return t + 1, Successor((t + 1)[None], t, t == 1, NEVER)

    agent, params = learn(probe(init, step), gae_lambda=jnp.asarray([0.0, 0.95]))
    for index in range(2):
        np.testing.assert_allclose(values(agent, pick(params, index), 0, 1), [GAMMA, 1.0], atol=0.03)


def test_the_policy_finds_the_best_action() -> None:
    agent, params = learn(one_step(lambda sign, action: -((action - 0.7) ** 2)), rpo_alpha=ALPHAS)
    for index in range(2):
        np.testing.assert_allclose(means(agent, pick(params, index), -1, 1), 0.7, atol=0.1)


def test_the_policy_finds_the_best_action_for_each_observation() -> None:
    agent, params = learn(one_step(lambda sign, action: -((action - 0.5 * sign) ** 2)), rpo_alpha=ALPHAS)
    best = np.asarray([-0.5, 0.5])
    for index in range(2):
        one = pick(params, index)
        mean, variance = means(agent, one, -1, 1), np.exp(2 * one["params"]["log_scale"])
        np.testing.assert_allclose(mean, best, atol=0.1)
        np.testing.assert_allclose(values(agent, one, -1, 1), -variance - (mean - best) ** 2, atol=0.05)


def endless(limit: int) -> Environment:
    """A reward of 1 at each step of a task without an end, cut off by a time limit that no observation shows."""

    def init(key: jax.Array):
        return jnp.zeros((), jnp.int32), jnp.ones(1)

    def step(key: jax.Array, t: jax.Array, action: jax.Array):
        return t + 1, Successor(jnp.ones(1), jnp.ones(()), NEVER, t + 1 >= limit)

    return probe(init, step)


def test_a_time_limit_does_not_change_the_value_of_an_endless_task() -> None:
    agent, params = learn(endless(5), gae_lambda=LAMBDAS)
    result = jax.vmap(agent.evaluate, (0, None))(params, jnp.ones(1))
    np.testing.assert_allclose(result, 1 / (1 - GAMMA), rtol=0.02)


def test_a_time_limit_that_terminates_gives_the_finite_horizon_value() -> None:
    """Targets with k steps left: T_1 = 1, T_k = 1 + gamma ((1 - lambda) V + lambda T_{k-1}); V is their mean over k."""
    agent, params = learn(terminate_at_time_limit(endless(5)), gae_lambda=LAMBDAS)
    result = jax.vmap(agent.evaluate, (0, None))(params, jnp.ones(1))
    for value, lam in zip(result, LAMBDAS, strict=True):
        # T_k is a + b V: iterate both parts, then solve V = mean(a) + mean(b) V.
        a, b = [1.0], [0.0]
        for _ in range(4):
            a.append(1 + GAMMA * lam * a[-1])
            b.append(GAMMA * (1 - lam) + GAMMA * lam * b[-1])
        np.testing.assert_allclose(value, np.mean(a) / (1 - np.mean(b)), rtol=0.02)
