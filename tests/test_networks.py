"""The actor-critic and its initialisation."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import toys

from rpo_jax import Hyperparams, Policy, init
from rpo_jax.algorithm.acting import make_actor
from rpo_jax.algorithm.networks import ActorCritic, init_params, orthogonal
from rpo_jax.algorithm.rollout import collect_rollout

OBS = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)


def test_orthogonal_columns_have_the_gain_as_length() -> None:
    weights = np.asarray(orthogonal(np.sqrt(2.0))(jax.random.key(0), (8, 5)))
    np.testing.assert_allclose(weights.T @ weights, 2.0 * np.eye(5), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5), (1, 4)])
def test_orthogonal_is_that_of_jax(shape: tuple[int, int]) -> None:
    weights = orthogonal(0.5)(jax.random.key(1), shape)
    expected = jax.nn.initializers.orthogonal(0.5)(jax.random.key(1), shape)
    np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.timeout(60)
def test_vmapped_initialisation_never_deadlocks() -> None:
    keys = jax.random.split(jax.random.key(0), 16)
    init = jax.jit(jax.vmap(lambda key: init_params(ActorCritic(2, (64, 64)), key, OBS)))
    for _ in range(100):
        jax.block_until_ready(init(keys))


def test_a_member_of_a_batch_is_initialised_as_it_is_alone() -> None:
    keys = jax.random.split(jax.random.key(3), 4)
    network = ActorCritic(2, (8, 8))
    alone = partial(init_params, network, obs=OBS)
    together = jax.jit(jax.vmap(alone))(keys)
    for index, key in enumerate(keys):
        jax.tree.map(lambda x, y, i=index: np.testing.assert_array_equal(x[i], y), together, jax.jit(alone)(key))


def test_outputs_are_those_of_the_layers_written_out() -> None:
    network = ActorCritic(2, (8, 4), "relu")
    params: Any = init_params(network, jax.random.key(0), OBS)
    outputs: Any = (*network.apply(params, OBS, method="act"), network.apply(params, OBS, method="evaluate"))
    loc, log_scale, value = outputs

    def forward(part: str) -> np.ndarray:
        x = np.asarray(OBS)
        layers = [jax.tree.map(np.asarray, params["params"][part][f"Dense_{i}"]) for i in range(3)]
        for layer in layers[:-1]:
            x = np.maximum(x @ layer["kernel"] + layer["bias"], 0.0)
        return x @ layers[-1]["kernel"] + layers[-1]["bias"]

    np.testing.assert_allclose(loc, forward("policy"), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value, forward("value")[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(log_scale, np.zeros(2))


def test_uniform_weights_and_biases_fill_the_interval_of_the_fan_in() -> None:
    params: Any = init_params(ActorCritic(2, (512,), weight_init="uniform"), jax.random.key(0), OBS)["params"]["policy"]
    for name, fan_in in (("Dense_0", 3), ("Dense_1", 512)):
        bound = 1.0 / np.sqrt(fan_in)
        assert np.abs(params[name]["kernel"]).max() == pytest.approx(bound, rel=0.02)
        assert np.abs(params[name]["bias"]).max() <= bound
    assert np.abs(params["Dense_0"]["bias"]).max() > 0.5 / np.sqrt(3)


def test_a_deviation_that_depends_on_the_state_is_right_at_every_step_of_a_rollout() -> None:
    agent = toys.tiny_agent(std="state", normalize_observations=False)
    state = init(agent, Hyperparams(), jax.random.key(0))
    state = state.replace(params=toys.random_params(agent))
    _, rollout = jax.jit(partial(collect_rollout, agent))(state, Hyperparams(), jax.random.key(1))
    parts = oracles.float64(state.params)["params"]
    loc, log_scale = oracles.act(parts, np.asarray(rollout.obs, np.float64))
    assert np.ptp(log_scale) > 0.1
    expected = oracles.normal_log_prob(np.asarray(rollout.action), loc, log_scale)
    np.testing.assert_allclose(rollout.log_prob, expected, rtol=1e-4, atol=1e-5)


def test_a_deviation_that_depends_on_the_state_begins_near_one_and_stays_within_its_bounds() -> None:
    network = ActorCritic(2, (8, 8), std="state")
    params: Any = init_params(network, jax.random.key(0), OBS)
    assert "log_scale" not in params["params"]
    log_scale: Any = network.apply(params, OBS, method="act")[1]
    assert log_scale.shape == (len(OBS), 2)
    assert np.abs(log_scale).max() < 0.1
    wide = jax.tree.map(lambda x: 1e4 * x, params)
    log_scale = network.apply(wide, OBS, method="act")[1]
    assert set(np.unique(log_scale)) <= {-5.0, 2.0}


def test_a_deviation_that_depends_on_the_state_is_sampled_in_evaluation() -> None:
    agent = toys.tiny_agent(std="state", normalize_observations=False)
    params = toys.random_params(agent)
    policy = Policy(params, init(agent, Hyperparams(), jax.random.key(0)).obs_moments)
    obs = jnp.repeat(jnp.asarray([[0.5, 1.0], [-1.5, 1.0]]), 4000, axis=0)
    actor = make_actor(agent, policy, jax.random.key(2), True, 10.0)
    actions = np.asarray(actor(obs, jnp.zeros((), jnp.int32))).reshape(2, 4000)
    loc, log_scale = agent.act(params, obs[::4000])
    draws = np.random.default_rng(0).normal(np.asarray(loc), np.exp(log_scale), (2, 4000))
    expected = np.clip(draws, -1, 1)  # the bounds of the environment
    np.testing.assert_allclose(actions.mean(1), expected.mean(1), atol=0.06)
    np.testing.assert_allclose(actions.std(1), expected.std(1), atol=0.06)
