"""The policy by the operators of ONNX."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import onnx
from onnx import helper, numpy_helper

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.heads import squash_to_bounds
from rpo_jax.algorithm.networks import LOG_SCALE_BOUNDS
from rpo_jax.algorithm.types import Policy

OPSET, IR = 17, 9  # which runtimes of 2023 and later read
EPSILON = 1e-8  # of the normalisation


class Graph:
    """Operators one after another: each takes the result of the one before, and constants."""

    def __init__(self, start: str):
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = start

    def then(self, operator: str, *constants: Any) -> "Graph":
        """Adds an operator."""
        return self._add(operator, [self.last, *map(self._constant, constants)])

    def times_its(self, operator: str) -> "Graph":
        """Multiplies by what an operator makes of it."""
        before = self.last
        return self.then(operator)._add("Mul", [before, self.last])

    def plus(self, other: str) -> "Graph":
        """Adds the result of an operator before."""
        return self._add("Add", [self.last, other])

    def _add(self, operator: str, inputs: list[str]) -> "Graph":
        self.last = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [self.last]))
        return self

    def _constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name


def policy_model(agent: Agent, policy: Policy, observation_clip: float) -> Any:
    """The model: `observation` [batch, O] to `action` [batch, A], as `Agent` has them.

    Args:
        agent: the static part.
        policy: of one run.
        observation_clip: as in training.
    """
    graph, network, config = Graph("observation"), policy.params["params"], agent.config
    if config.normalize_observations:
        deviation = np.sqrt(np.asarray(policy.obs_moments.variance) + EPSILON)
        graph.then("Sub", policy.obs_moments.mean).then("Div", deviation)
        graph.then("Clip", -observation_clip, observation_clip)
    if config.policy_observation_scale:
        graph.then("Div", config.policy_observation_scale)
    layers = [network["policy"][f"Dense_{index}"] for index in range(len(config.hidden_sizes) + 1)]
    for layer in layers[:-1]:
        graph.then("MatMul", layer["kernel"]).then("Add", layer["bias"])
        _activate(graph, config.activation)
    if config.std == "shared":
        graph.then("MatMul", layers[-1]["kernel"]).then("Add", layers[-1]["bias"])
        log_scale = jnp.asarray(network["log_scale"])
        graph.then("Add", agent.head.mean(jnp.zeros_like(log_scale), log_scale))  # a location shifts the mean
    else:
        _mean_of_outputs(graph, agent, *(layers[-1][name] for name in ("kernel", "bias")))
    _to_env(graph, agent)
    graph.nodes[-1].output[0] = "action"
    return _model(graph, agent.env.observation_size, agent.env.action_size)


def _mean_of_outputs(graph: Graph, agent: Agent, kernel: Any, bias: Any) -> None:
    """The mean, `loc + scale * mean of standard noise`, where the last layer gives location and log-scale."""
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
    else:
        graph.then("Max", low).then("Min", high)


def _model(graph: Graph, observation_size: int, action_size: int) -> Any:
    def value(name: str, size: int) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size])

    inputs, outputs = [value("observation", observation_size)], [value("action", action_size)]
    whole = helper.make_graph(graph.nodes, "policy", inputs, outputs, graph.constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model, full_check=True)
    return model
