"""The policy as an ONNX model."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.heads import squash_to_bounds
from rpo_jax.algorithm.networks import LOG_SCALE_BOUNDS, ActorCritic
from rpo_jax.algorithm.types import Policy

OPSET, IR = 17, 9  # supported by runtimes since 2023
EPSILON = 1e-8  # added to the variance by the normalisation of observations


class Graph:
    """A chain of ONNX operators: each takes the result of the previous one, and constants.

    Attributes:
        nodes: operators so far.
        constants: their constants.
        last: name of the last result.
    """

    def __init__(self, start: str):
        """Begins a chain.

        Args:
            start: name of the input.
        """
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.last = start

    def then(self, operator: str, *constants: ArrayLike) -> "Graph":
        """Applies an operator to the last result.

        Args:
            operator: name of an ONNX operator.
            *constants: its other inputs, converted to float32.

        Returns:
            The same graph.
        """
        return self._add(operator, [self.last, *map(self._constant, constants)])

    def times_its(self, operator: str) -> "Graph":
        """Multiplies the last result by an operator applied to it.

        Args:
            operator: name of an ONNX operator of one input.

        Returns:
            The same graph.
        """
        before = self.last
        return self.then(operator)._add("Mul", [before, self.last])

    def plus(self, other: str) -> "Graph":
        """Adds the result of an earlier operator to the last result.

        Args:
            other: name of the earlier result.

        Returns:
            The same graph.
        """
        return self._add("Add", [self.last, other])

    def _add(self, operator: str, inputs: list[str]) -> "Graph":
        self.last = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [self.last]))
        return self

    def _constant(self, value: ArrayLike) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name


def policy_model(agent: Agent, policy: Policy, observation_clip: float) -> onnx.ModelProto:
    """Builds the ONNX model of a policy: input `observation` [batch, O], output `action` [batch, A].

    Args:
        agent: from `make_agent`, with an `ActorCritic`.
        policy: policy of one run.
        observation_clip: bound at which normalised observations are clipped.

    Returns:
        The checked model.
    """
    graph, params, network = Graph("observation"), policy.params["params"], agent.network
    assert type(network) is ActorCritic
    if agent.config.normalize_observations:
        deviation = np.sqrt(np.asarray(policy.obs_moments.variance) + EPSILON)
        graph.then("Sub", policy.obs_moments.mean).then("Div", deviation)
        graph.then("Clip", -observation_clip, observation_clip)
    if network.policy_scale:
        graph.then("Div", network.policy_scale)
    layers = [params["policy"][f"Dense_{index}"] for index in range(len(network.hidden_sizes) + 1)]
    for layer in layers[:-1]:
        graph.then("MatMul", layer["kernel"]).then("Add", layer["bias"])
        _activate(graph, network.activation)
    if network.std == "shared":
        graph.then("MatMul", layers[-1]["kernel"]).then("Add", layers[-1]["bias"])
        log_scale = jnp.asarray(params["log_scale"])
        graph.then("Add", agent.head.mean(jnp.zeros_like(log_scale), log_scale))  # the mean is the location plus this
    else:
        _mean_of_outputs(graph, agent, *(layers[-1][name] for name in ("kernel", "bias")))
    _to_env(graph, agent)
    graph.nodes[-1].output[0] = "action"
    return _model(graph, agent.env.observation_size, agent.env.action_size)


def _mean_of_outputs(graph: Graph, agent: Agent, kernel: jax.Array, bias: jax.Array) -> None:
    """Adds the last layer, which has location and log-scale as outputs; the mean is loc + scale * mean of the noise."""
    hidden, size = graph.last, agent.env.action_size
    loc = graph.then("MatMul", kernel[:, :size]).then("Add", bias[:size]).last
    standard = np.asarray(agent.head.mean(jnp.zeros(size), jnp.zeros(size)))
    if standard.any():
        graph.last = hidden
        graph.then("MatMul", kernel[:, size:]).then("Add", bias[size:]).then("Clip", *LOG_SCALE_BOUNDS)
        graph.then("Exp").then("Mul", standard).plus(loc)


def _activate(graph: Graph, activation: str) -> None:
    if activation == "swish":
        graph.times_its("Sigmoid")
    else:
        graph.then({"tanh": "Tanh", "relu": "Relu"}[activation])


def _to_env(graph: Graph, agent: Agent) -> None:
    low, high = agent.env.low, agent.env.high
    if agent.head.to_env is squash_to_bounds:
        graph.then("Tanh").then("Add", 1.0).then("Mul", 0.5 * (high - low)).then("Add", low)
    graph.then("Max", low).then("Min", high)


def _model(graph: Graph, observation_size: int, action_size: int) -> onnx.ModelProto:
    def value(name: str, size: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])

    inputs, outputs = [value("observation", observation_size)], [value("action", action_size)]
    policy = helper.make_graph(graph.nodes, "policy", inputs, outputs, graph.constants)
    model = helper.make_model(policy, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model, full_check=True)
    return model
