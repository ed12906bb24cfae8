"""The networks' products and their gradients, against NumPy in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rpo_jax.compiling.matmul import product

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("outputs", [1, 3, 5, 8])
@pytest.mark.parametrize("shape", [(5,), (7, 5), (2, 7, 5), (1, 5), (0, 5)])
def test_product_and_gradients_are_those_of_the_formula(shape, outputs):
    x, weights = RANDOM.normal(size=shape), RANDOM.normal(size=(5, outputs))
    factor = RANDOM.normal(size=(*shape[:-1], outputs))

    def loss(x, weights):
        return jnp.sum(jnp.asarray(product(None, x, weights)) * factor)

    value, (of_x, of_weights) = jax.jit(jax.value_and_grad(loss, (0, 1)))(jnp.float32(x), jnp.float32(weights))
    np.testing.assert_allclose(value, (x @ weights * factor).sum(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_x, factor @ weights.T, rtol=1e-4, atol=1e-5)
    expected = np.einsum("bi,bo->io", x.reshape(-1, 5), factor.reshape(-1, outputs))
    np.testing.assert_allclose(of_weights, expected, rtol=1e-4, atol=1e-5)


def test_gradients_of_a_batch_of_networks_are_those_of_each():
    x, weights = jnp.float32(RANDOM.normal(size=(4, 7, 5))), jnp.float32(RANDOM.normal(size=(4, 5, 3)))
    gradient = jax.grad(lambda x, weights: jnp.square(product(None, x, weights)).sum(), (0, 1))
    together = jax.jit(jax.vmap(gradient))(x, weights)
    for index in range(4):
        for whole, alone in zip(together, gradient(x[index], weights[index]), strict=True):
            np.testing.assert_allclose(whole[index], alone, rtol=1e-5, atol=1e-5)


def products_in(jaxpr):
    """Precisions of all matrix products of a program, those of its parts included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.params["precision"]
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from products_in(inner)


@pytest.mark.parametrize("output", ["act", "value"])
@pytest.mark.parametrize(
    ("precision", "expected"),
    [("highest", jax.lax.Precision.HIGHEST), ("high", jax.lax.Precision.HIGH), ("default", None)],
)
def test_matmul_precision_reaches_every_product_forward_and_backward(precision, expected, output):
    agent = toys.tiny_agent(matmul_precision=precision, hidden_sizes=(8,))

    def loss(params, obs):
        return jnp.sum(agent.act(params, obs)[0] if output == "act" else agent.value(params, obs))

    program = jax.make_jaxpr(jax.grad(loss, (0, 1)))(toys.random_params(agent), jnp.ones((3, 2)))
    found = list(products_in(program.jaxpr))
    # Two layers: a product forward, one for the input, and one for the weights on either kind of platform.
    assert found == [expected and (expected, expected)] * 8
