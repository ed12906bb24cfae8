"""The networks' products and their gradients, against NumPy in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rpo_jax.products import product

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 7, 5), (1, 5), (0, 5)])
def test_product_and_gradients_are_those_of_the_formula(shape):
    x, weights = RANDOM.normal(size=shape), RANDOM.normal(size=(5, 3))
    factor = RANDOM.normal(size=(*shape[:-1], 3))

    def loss(x, weights):
        return (product("default", x, weights) * factor).sum()

    value, (of_x, of_weights) = jax.jit(jax.value_and_grad(loss, (0, 1)))(jnp.float32(x), jnp.float32(weights))
    np.testing.assert_allclose(value, (x @ weights * factor).sum(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_x, factor @ weights.T, rtol=1e-4, atol=1e-5)
    expected = np.einsum("bi,bo->io", x.reshape(-1, 5), factor.reshape(-1, 3))
    np.testing.assert_allclose(of_weights, expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_a_batch_of_networks_are_those_of_each():
    x, weights = jnp.float32(RANDOM.normal(size=(4, 7, 5))), jnp.float32(RANDOM.normal(size=(4, 5, 3)))
    gradient = jax.grad(lambda x, weights: jnp.square(product("default", x, weights)).sum(), (0, 1))
    together = jax.jit(jax.vmap(gradient))(x, weights)
    for index in range(4):
        for whole, alone in zip(together, gradient(x[index], weights[index]), strict=True):
            np.testing.assert_allclose(whole[index], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("precision", "count"), [("highest", 4), ("high", 0), ("default", 0)])
def test_matmul_precision_reaches_every_product_forward_and_backward(precision, count):
    agent = toys.tiny_agent(matmul_precision=precision, hidden_sizes=(8,))
    params = toys.random_params(agent)
    program = str(jax.make_jaxpr(jax.grad(lambda params: agent.value(params, jnp.ones((3, 2))).sum()))(params))
    # Two layers: two products forward, one for each layer's weights (on either platform), one for the inner input.
    assert program.count("Precision.HIGHEST") >= 2 * count
    assert ("Precision.HIGH," in program.replace("Precision.HIGHEST", "")) == (precision == "high")
    assert ("Precision.HIGHEST" in program) == (precision == "highest")
