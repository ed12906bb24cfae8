"""The actor-critic: separate networks for policy and value, and a scale that does not depend on the state."""

import math
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from rpo_jax.compiling.matmul import dot_general

ACTIVATIONS = {"tanh": nn.tanh, "relu": nn.relu, "swish": nn.swish}

Initializer = Callable[..., jax.Array]


def orthogonal(gain: float) -> Initializer:
    """Orthogonal initialisation (Saxe et al. 2014) that is safe under vmap.

    A batched QR runs inside XLA's CPU thread pool and waits for that same pool: with few cores it deadlocks. Under
    vmap the members of a batch are therefore initialised one after another. (`nn.initializers.orthogonal` gives the
    same; from normal numbers drawn as a vector XLA makes less code.)
    """

    def init(key, shape, dtype=jnp.float32):
        normal = jax.random.normal(key, (math.prod(shape),), dtype).reshape((max(shape), min(shape)))
        q, r = jax.custom_batching.sequential_vmap(lambda x: jnp.linalg.qr(x))(normal)
        q *= jnp.sign(jnp.diagonal(r))  # or not all orthogonal matrices would be as likely
        return gain * (q if shape[0] >= shape[1] else q.T)

    return init


def uniform_fan_in(fan_in: int) -> Initializer:
    """Uniform in +-1/sqrt(fan_in), which is what PyTorch gives a linear layer."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / math.sqrt(fan_in)

    return init


class MLP(nn.Module):
    """Hidden layers and a linear last one: [..., O] to [..., outputs]."""

    hidden_sizes: tuple[int, ...]
    outputs: int
    output_gain: float
    activation: str
    weight_init: str
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs of a batch."""
        for size in self.hidden_sizes:
            x = ACTIVATIONS[self.activation](self._layer(size, math.sqrt(2.0), x))
        return self._layer(self.outputs, self.output_gain, x)

    def _layer(self, size: int, gain: float, x: jax.Array) -> jax.Array:
        precision = None if self.precision == "default" else self.precision  # None: what JAX is set to
        dense = partial(nn.Dense, size, dot_general=dot_general, precision=precision)
        if self.weight_init == "orthogonal":
            return dense(kernel_init=orthogonal(gain))(x)
        init = uniform_fan_in(x.shape[-1])
        return dense(kernel_init=init, bias_init=init)(x)


class ActorCritic(nn.Module):
    """Policy and value of a normalised observation.

    Parameters: `policy` and `value`, two MLPs, and `log_scale` [A], starting at 0. Orthogonal gains are sqrt(2) for
    hidden layers, 0.01 for the mean and 1 for the value. Either network can divide what it sees by constants [O].
    """

    action_size: int
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    weight_init: str = "orthogonal"
    policy_scale: tuple[float, ...] = ()
    value_scale: tuple[float, ...] = ()
    precision: str = "default"

    def setup(self) -> None:
        """Makes the two networks and the scale."""
        kind = (self.activation, self.weight_init, self.precision)
        self.policy = MLP(self.hidden_sizes, self.action_size, 0.01, *kind)
        self.value = MLP(self.hidden_sizes, 1, 1.0, *kind)
        self.log_scale = self.param("log_scale", nn.initializers.zeros, (self.action_size,))

    def __call__(self, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Location [..., A], log-scale [A] and value [...] of observations [..., O]."""
        return *self.act(obs), self.evaluate(obs)

    def act(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Location [..., A] and log-scale [A]."""
        return self.policy(_divide(obs, self.policy_scale)), self.log_scale

    def evaluate(self, obs: jax.Array) -> jax.Array:
        """Value [...]."""
        return self.value(_divide(obs, self.value_scale)).squeeze(-1)


def _divide(obs: jax.Array, scale: tuple[float, ...]) -> jax.Array:
    return obs / jnp.asarray(scale) if scale else obs
