"""The actor-critic network: separate MLPs for policy and value."""

import math
from collections.abc import Callable
from functools import partial
from typing import Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import TrainConfig
from rpo_jax.algorithm.types import Params
from rpo_jax.compiling.matmul import dot_general
from rpo_jax.envs.protocol import Environment
from rpo_jax.errors import SettingsError
from rpo_jax.registry import Registry
from rpo_jax.typing import PyTree

LOG_SCALE_BOUNDS = (-5.0, 2.0)  # only of a log-scale that is an output of the network
ACTIVATIONS = {"tanh": nn.tanh, "relu": nn.relu, "swish": nn.swish}

Initializer = Callable[..., jax.Array]


def orthogonal(gain: float) -> Initializer:
    """Returns an orthogonal initialiser (Saxe et al. 2014) that is safe under vmap.

    A batched QR decomposition runs inside XLA's CPU thread pool and waits for that same pool: with few cores it
    deadlocks. Under vmap the members of a batch are therefore initialised one after another. The results equal those
    of `nn.initializers.orthogonal`, but normal numbers drawn as a vector need less generated code.

    Args:
        gain: factor by which the orthogonal matrix is multiplied.
    """

    def init(key, shape, dtype=jnp.float32):
        normal = jax.random.normal(key, (math.prod(shape),), dtype).reshape((max(shape), min(shape)))
        q, r = jax.custom_batching.sequential_vmap(lambda x: jnp.linalg.qr(x))(normal)
        q *= jnp.sign(jnp.diagonal(r))  # makes all orthogonal matrices equally likely
        return gain * (q if shape[0] >= shape[1] else q.T)

    return init


def uniform_fan_in(fan_in: int) -> Initializer:
    """Returns an initialiser that is uniform in +-1/sqrt(fan_in), as PyTorch's for a linear layer."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / math.sqrt(fan_in)

    return init


class MLP(nn.Module):
    """Multi-layer perceptron: hidden layers and a linear output layer, [..., O] to [..., outputs].

    Attributes:
        hidden_sizes: widths of the hidden layers.
        outputs: width of the output layer.
        output_gain: gain of its orthogonal initialisation.
        activation: name of the activation of the hidden layers.
        weight_init: "orthogonal" or "uniform".
        precision: precision of matrix products.
    """

    hidden_sizes: tuple[int, ...]
    outputs: int
    output_gain: float
    activation: str
    weight_init: str
    precision: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Computes the outputs of a batch."""
        for size in self.hidden_sizes:
            x = ACTIVATIONS[self.activation](self._layer(size, math.sqrt(2.0), x))
        return self._layer(self.outputs, self.output_gain, x)

    def _layer(self, size: int, gain: float, x: jax.Array) -> jax.Array:
        precision = None if self.precision == "default" else self.precision  # None: JAX's own setting
        dense = partial(nn.Dense, size, dot_general=dot_general, precision=precision)
        if self.weight_init == "orthogonal":
            return dense(kernel_init=orthogonal(gain))(x)
        init = uniform_fan_in(x.shape[-1])
        return dense(kernel_init=init, bias_init=init)(x)


class ActorCritic(nn.Module):
    """Computes policy and value of normalised observations with two separate MLPs.

    Its parameters are `policy`, `value`, and `log_scale` [A], which starts at 0 and does not depend on the state. With
    `std="state"` the policy's MLP also outputs the log-scale [..., A], clipped to `LOG_SCALE_BOUNDS`. Orthogonal gains
    are sqrt(2) for hidden layers, 0.01 for the policy's outputs and 1 for the value.

    Attributes:
        action_size: number of action dimensions, A.
        hidden_sizes: widths of the hidden layers of both MLPs.
        activation: name of their activation.
        weight_init: "orthogonal" or "uniform".
        policy_scale: constants [O] by which the policy's input is divided; none if empty.
        value_scale: likewise for the value.
        precision: precision of matrix products.
        std: "shared" or "state".
    """

    action_size: int
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    weight_init: str = "orthogonal"
    policy_scale: tuple[float, ...] = ()
    value_scale: tuple[float, ...] = ()
    precision: str = "default"
    std: str = "shared"

    def setup(self) -> None:
        """Creates the two MLPs and the log-scale."""
        kind = (self.activation, self.weight_init, self.precision)
        outputs = 2 * self.action_size if self.std == "state" else self.action_size
        self.policy = MLP(self.hidden_sizes, outputs, 0.01, *kind)
        self.value = MLP(self.hidden_sizes, 1, 1.0, *kind)
        if self.std == "shared":
            self.log_scale = self.param("log_scale", nn.initializers.zeros, (self.action_size,))

    def act(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Computes the location [..., A] and the log-scale, [A] or [..., A], for normalised `obs` [..., O]."""
        outputs = self.policy(divide(obs, self.policy_scale))
        return split_outputs(outputs, self.log_scale if self.std == "shared" else None)

    def evaluate(self, obs: jax.Array) -> jax.Array:
        """Computes the value [...] of normalised `obs` [..., O]."""
        return self.value(divide(obs, self.value_scale)).squeeze(-1)


def split_outputs(outputs: jax.Array, log_scale: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Returns location and log-scale: of a policy's `outputs` [..., 2 A] if `log_scale` [A] is None."""
    if log_scale is not None:
        return outputs, log_scale
    loc, log_scale = jnp.split(outputs, 2, axis=-1)
    return loc, jnp.clip(log_scale, *LOG_SCALE_BOUNDS)


def divide(obs: jax.Array, scale: tuple[float, ...]) -> jax.Array:
    """Returns `obs` [..., O] divided by the constants `scale` [O], if there are any."""
    return obs / jnp.asarray(scale) if scale else obs


def make_mlp(env: Environment, config: TrainConfig) -> ActorCritic:
    """Creates the `ActorCritic` that a configuration describes.

    Args:
        env: environment, which determines the sizes of observations and actions.
        config: static settings.

    Returns:
        The network.

    Raises:
        SettingsError: if an observation scale does not have one number for each dimension.
    """
    scales = {name: getattr(config, name) for name in ("policy_observation_scale", "value_observation_scale")}
    for name, scale in scales.items():
        if len(scale) not in (0, env.observation_size):
            raise SettingsError(
                f"{name} has {len(scale)} numbers, but observations of {env.name} have {env.observation_size}"
            )
    return ActorCritic(
        env.action_size,
        config.hidden_sizes,
        config.activation,
        config.weight_init,
        *scales.values(),
        precision=config.matmul_precision,
        std=config.std,
    )


class Network(Protocol):
    """What a flax module must have to be a network of `make_agent`."""

    def act(self, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the location [N, A] and the log-scale, [A] or [N, A], for normalised `obs` [N, O]."""
        ...

    def evaluate(self, obs: jax.Array) -> jax.Array:
        """Returns the values [N] of normalised `obs` [N, O]."""
        ...


MakeNetwork = Callable[[Environment, TrainConfig], nn.Module]
NETWORKS: Registry[MakeNetwork] = Registry("network", {"mlp": make_mlp})


def init_params(network: nn.Module, key: jax.Array, obs: jax.Array) -> Params:
    """Initialises the parameters of a network.

    Args:
        network: flax module with methods `act` and `evaluate`, as described in `make_agent`.
        key: random key.
        obs: any observations [N, O]; only their shape is used.

    Returns:
        The parameters.
    """

    def both(module: Network, obs: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        return module.act(obs), module.evaluate(obs)

    return network.init(key, obs, method=both)


def param_shapes(network: nn.Module, observation_size: int) -> Params:
    """Returns the shapes and dtypes of a network's parameters, without computing them.

    Args:
        network: flax module with methods `act` and `evaluate`, as described in `make_agent`.
        observation_size: number of dimensions of observations, O.
    """
    obs = jax.ShapeDtypeStruct((1, observation_size), jnp.float32)
    return jax.eval_shape(partial(init_params, network), jax.eval_shape(jax.random.key, 0), obs)


def check_network(network: nn.Module, observation_size: int, action_size: int) -> None:
    """Checks that a network has the methods that `make_agent` describes; only shapes are computed.

    Args:
        network: flax module.
        observation_size: number of dimensions of observations, O.
        action_size: number of dimensions of actions, A.

    Raises:
        SettingsError: if a method is missing, a result has the wrong shape, or there are variables besides parameters.
    """
    for name in ("act", "evaluate"):
        if not callable(getattr(type(network), name, None)):
            raise SettingsError(f"network {type(network).__name__} has no method {name}(obs); see make_agent")
    obs, params = jax.ShapeDtypeStruct((3, observation_size), jnp.float32), param_shapes(network, observation_size)
    if set(params) != {"params"}:
        raise SettingsError(
            f"network {type(network).__name__} has variables {sorted(params)}, and must have params and nothing else"
        )

    def results(params: Params, obs: jax.Array) -> PyTree:
        return *network.apply(params, obs, method="act"), network.apply(params, obs, method="evaluate")

    shapes = [x.shape for x in jax.eval_shape(results, params, obs)]
    expected = [[(3, action_size)], [(action_size,), (3, action_size)], [(3,)]]
    for what, shape, allowed in zip(("loc", "log_scale", "value"), shapes, expected, strict=True):
        if shape not in allowed:
            wanted = " or ".join(map(str, allowed))
            raise SettingsError(
                f"network {type(network).__name__} gives a {what} of shape {shape} for observations "
                f"(3, {observation_size}), and must give {wanted}"
            )
