"""Both MLPs of an `ActorCritic` at once, with one product for their layers of the same shape."""

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.networks import ACTIVATIONS, ActorCritic, divide, split_outputs
from rpo_jax.algorithm.types import Params


def act_and_evaluate(network: ActorCritic, params: Params, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes what `act` and `evaluate` do, with half as many operations.

    Args:
        network: the network.
        params: its parameters.
        obs: normalised observations [N, O].

    Returns:
        The location [N, A], the log-scale, [A] or [N, A], and the values [N].
    """
    own = params["params"]
    precision = None if network.precision == "default" else network.precision
    # Both read a copy of their own: if they shared one, the first layer's gradient would be transposed in memory.
    x = jnp.stack([divide(obs, scale) for scale in (network.policy_scale, network.value_scale)])
    for index in range(len(network.hidden_sizes) + 1):
        if index:
            x = ACTIVATIONS[network.activation](x)
        policy, value = (own[name][f"Dense_{index}"] for name in ("policy", "value"))
        kernel, bias = (_stack(policy[part], value[part]) for part in ("kernel", "bias"))
        x = jnp.matmul(x, kernel, precision=precision) + bias[:, None]
    return *split_outputs(x[0], own.get("log_scale")), x[1, :, 0]


def _stack(policy: jax.Array, value: jax.Array) -> jax.Array:
    """Stacks [..., K] and [..., L] to [2, ..., K]: the value has one output, and zeros for the policy's others."""
    missing = policy.shape[-1] - value.shape[-1]
    return jnp.stack([policy, jnp.pad(value, [(0, 0)] * (value.ndim - 1) + [(0, missing)])])
