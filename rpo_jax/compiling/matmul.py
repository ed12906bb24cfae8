"""Matrix products of the networks, forward and backward, in the form that is fastest on each platform."""

from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(precision: str | None, x: jax.Array, weights: jax.Array) -> jax.Array:
    """Multiplies `x @ weights`.

    The gradient of the weights contracts over all rows of a minibatch. On a CPU its thinner factor is transposed first,
    since XLA uses a slower kernel for products of a transposed operand.

    Args:
        precision: "high" or "highest", as of `jax.lax.Precision`; the default of JAX if None.
        x: inputs [..., I].
        weights: weight matrix [I, K].

    Returns:
        Outputs [..., K].
    """
    return jnp.matmul(x, weights, precision=precision)


def _forward(precision: str | None, x: jax.Array, weights: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return product(precision, x, weights), (x, weights)


def _backward(
    precision: str | None, operands: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, weights = operands
    rows, columns = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    multiply = partial(jnp.matmul, precision=precision)

    def transpose_first(x, g):
        if g.shape[1] < x.shape[1]:
            return multiply(jax.lax.optimization_barrier(g.T), x).T
        return multiply(jax.lax.optimization_barrier(x.T), g)

    weight_gradient = jax.lax.platform_dependent(
        rows, columns, cpu=transpose_first, default=lambda x, g: multiply(x.T, g)
    )
    return multiply(gradient, weights.T), weight_gradient


product.defvjp(_forward, _backward)


def dot_general(
    x: jax.Array, weights: jax.Array, dimensions: jax.lax.DotDimensionNumbers, precision: str | None
) -> jax.Array:
    """Calls `product`; to be passed to `flax.linen.Dense` as `dot_general`.

    Args:
        x: inputs [..., I].
        weights: weight matrix [I, K].
        dimensions: not used: Dense contracts the last axis with the first.
        precision: as of `product`.

    Returns:
        Outputs [..., K].
    """
    return product(precision, x, weights)
