"""The matrix products of the networks, forward and backward, as each platform does them fast."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(precision: str | None, x: jax.Array, weights: jax.Array) -> jax.Array:
    """`x @ weights`, and its gradients.

    On a CPU the gradient of the weights, which contracts over all the rows of a minibatch, transposes its thinner
    factor beforehand: XLA gives it to a slower kernel unless it is laid out like any other product.

    Args:
        precision: "high" or "highest", as `jax.lax.Precision`; what JAX is set to if None.
        x: [..., I].
        weights: [I, K].
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

    def transposed_beforehand(x, g):
        if g.shape[1] < x.shape[1]:
            return multiply(jax.lax.optimization_barrier(g.T), x).T
        return multiply(jax.lax.optimization_barrier(x.T), g)

    of_weights = jax.lax.platform_dependent(
        rows, columns, cpu=transposed_beforehand, default=lambda x, g: multiply(x.T, g)
    )
    return multiply(gradient, weights.T), of_weights


product.defvjp(_forward, _backward)


def dot_general(x: jax.Array, weights: jax.Array, dimensions: Any, precision: str | None) -> jax.Array:
    """`product`, for `flax.linen.Dense`."""
    return product(precision, x, weights)
