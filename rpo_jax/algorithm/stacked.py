"""Both MLPs of an `ActorCritic` at once, forward and backward, for devices that launch a kernel for each operation."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.networks import ACTIVATIONS, ActorCritic, divide, split_outputs
from rpo_jax.algorithm.sharing import fewest_large_parts
from rpo_jax.algorithm.types import Params
from rpo_jax.typing import PyTree

ROWS = 128  # fewest samples of a part
_Outputs: TypeAlias = tuple[jax.Array, jax.Array | None]


class Layer(NamedTuple):
    """A layer of both MLPs.

    Attributes:
        kernel: weight matrices [2, I, K].
        bias: biases [2, K]; None if they are the last rows of the kernels, and the last inputs are 1.
    """

    kernel: jax.Array
    bias: jax.Array | None


class _How(NamedTuple):
    """What does not change: the activation, the precision of products, and the largest number of partial sums."""

    activation: Callable[[jax.Array], jax.Array]
    precision: str | None
    parts: int


def act_and_evaluate(
    network: ActorCritic, params: Params, obs: jax.Array, parts: int = 1
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes what `act` and `evaluate` do, with fewer operations.

    Args:
        network: the network.
        params: its parameters.
        obs: normalised observations [N, O].
        parts: largest number of parts of the samples; gradients are summed over each, and then over all.

    Returns:
        The location and the log-scale [N, A], and the values [N].
    """
    own = params["params"]

    def stacked(name: str) -> tuple[jax.Array, jax.Array]:
        policy, value = own["policy"][name], own["value"][name]
        return _stack(policy["kernel"], value["kernel"]), _stack(policy["bias"], value["bias"])

    pairs = [stacked(f"Dense_{index}") for index in range(len(network.hidden_sizes) + 1)]
    layers = [Layer(*pair) for pair in pairs]
    # Both read a copy of their own: if they shared one, the first layer's gradient would be transposed in memory.
    x = jnp.stack([divide(obs, scale) for scale in (network.policy_scale, network.value_scale)])
    # The first product adds the bias as well, rounded as the weights are, and its gradient contains that of the bias.
    if network.hidden_sizes:
        kernel, bias = pairs[0]
        layers[0] = Layer(jnp.concatenate([kernel, bias[:, None]], 1), None)
        x = jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1))], -1)
    precision = None if network.precision == "default" else network.precision
    how = _How(ACTIVATIONS[network.activation], precision, parts)
    found: Any = _apply(how, layers, own.get("log_scale"), x)
    outputs, log_scale = found
    return *split_outputs(outputs[0], log_scale), outputs[1, :, 0]


def _stack(policy: jax.Array, value: jax.Array) -> jax.Array:
    """Stacks [..., K] and [..., L] to [2, ..., K]: the value has one output, and zeros for the policy's others."""
    missing = policy.shape[-1] - value.shape[-1]
    return jnp.stack([policy, jnp.pad(value, [(0, 0)] * (value.ndim - 1) + [(0, missing)])])


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _apply(how: _How, layers: list[Layer], log_scale: jax.Array | None, x: jax.Array) -> _Outputs:
    """Computes the outputs [2, N, K] for inputs `x` [2, N, O], and the log-scale of each sample [N, K].

    Gradients are sums over samples. Each is computed as partial sums, and all of those are added up in one operation.
    """
    return _forward(how, layers, log_scale, x)[0]


def _forward(how: _How, layers: list[Layer], log_scale: jax.Array | None, x: jax.Array) -> tuple[_Outputs, PyTree]:
    inputs, derivatives = [], []
    for index, layer in enumerate(layers):
        if index:
            x, derivative = jax.vjp(how.activation, x)
            derivatives.append(derivative)
        inputs.append(x)
        x = jnp.matmul(x, layer.kernel, precision=how.precision)
        x = x if layer.bias is None else x + layer.bias[:, None]
    # Added to each sample's outputs, or XLA would launch a kernel for the entropy, which is that of all samples.
    of_samples = None if log_scale is None else log_scale + 0 * x[0]
    return (x, of_samples), (layers, inputs, derivatives)


def _backward(how: _How, kept: PyTree, gradients: PyTree) -> PyTree:
    layers, inputs, derivatives = kept
    gradient, of_log_scale = gradients
    num_samples = gradient.shape[1]
    widest = max(max(layer.kernel.shape[1:]) for layer in layers)  # partial sums are no larger than a layer's outputs
    parts = fewest_large_parts(num_samples, most=max(ROWS, widest, -(-num_samples // how.parts)))

    def in_parts(x: jax.Array) -> jax.Array:
        return x.reshape((len(x), parts, -1, x.shape[-1]))

    sums: list[Any] = []  # a `Layer` of each, leaves [2, parts, ...]
    rows = gradient if of_log_scale is None else jnp.concatenate([gradient, of_log_scale[None]])
    for index in reversed(range(len(layers))):
        of_kernel = jnp.einsum("npbi,npbk->npik", in_parts(inputs[index]), in_parts(gradient), precision=how.precision)
        of_bias = None if layers[index].bias is None else in_parts(rows).sum(2)
        sums = [Layer(of_kernel, of_bias), *sums]
        gradient = jnp.matmul(gradient, layers[index].kernel.mT, precision=how.precision)
        if index:
            [gradient] = [rows] = derivatives[index - 1](gradient)
    if of_log_scale is None:
        return _total(sums), None, gradient
    of_kernel, of_bias = sums[-1]  # the log-scale was summed along with the biases of the outputs
    sums[-1] = Layer(of_kernel, of_bias[:2])
    of_layers, scale = _total((sums, jnp.pad(of_bias[2:], ((0, 1), (0, 0), (0, 0)))))
    return of_layers, scale[0], gradient


def _total(sums: PyTree) -> PyTree:
    """Adds up partial sums, leaves [2, parts, ...] to [2, ...], all in one operation."""
    leaves, structure = jax.tree.flatten(sums)
    flat = [x.reshape((*x.shape[:2], -1)) for x in leaves]
    total = jnp.concatenate(flat, axis=-1).sum(1)
    ends = [sum(x.shape[-1] for x in flat[:count]) for count in range(1, len(flat))]
    pieces = jnp.split(total, ends, axis=-1)
    return structure.unflatten(piece.reshape((2, *x.shape[2:])) for piece, x in zip(pieces, leaves, strict=True))


_apply.defvjp(_forward, _backward)
