"""The actor-critic and its initialisation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpo_jax.algorithm.networks import ActorCritic, init_params, orthogonal

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
    together = jax.vmap(lambda key: init_params(network, key, OBS))(keys)
    for index, key in enumerate(keys):
        jax.tree.map(
            lambda x, y, i=index: np.testing.assert_array_equal(x[i], y), together, init_params(network, key, OBS)
        )


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
