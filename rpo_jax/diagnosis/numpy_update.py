"""The learning step of RPO in NumPy and float64, with gradients derived by hand: the reference for XLA's results.

For a normal head, tanh networks, a clipped value loss and one learning rate. Formulas: RPO (Rahman & Xue 2022,
Algorithm 1), PPO (arXiv 1707.06347, eq. 7 and 9), Adam (Kingma & Ba 2015, Algorithm 1).
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import jax
import numpy as np
from numpy.typing import ArrayLike

from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.types import Batch
from rpo_jax.typing import PyTree

Layers: TypeAlias = Mapping[str, Mapping[str, np.ndarray]]  # {layer: {"kernel": [I, K], "bias": [K]}}


def update(params: PyTree, minibatches: Iterable[tuple[Batch, np.ndarray]], hyperparams: Hyperparams) -> PyTree:
    """Does a step of Adam for each minibatch.

    Args:
        params: parameters of the actor-critic, as flax stores them.
        minibatches: pairs of a batch [B, ...], whose advantages are not normalised yet, and the perturbation of the
            action mean of each sample [B, A].
        hyperparams: hyperparameters, plain numbers.

    Returns:
        The parameters after the last step, in float64.
    """
    params = _float64(params)
    first, second = jax.tree.map(np.zeros_like, params), jax.tree.map(np.zeros_like, params)
    for step, (batch, offsets) in enumerate(minibatches, 1):
        batch, offsets = _float64((batch, offsets))
        batch = batch._replace(advantage=standardize(batch.advantage))
        grads = {"params": gradients(params["params"], batch, offsets, hyperparams)}
        norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
        grads = jax.tree.map(lambda g, norm=norm: g * min(1.0, hyperparams.max_grad_norm / norm), grads)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, grads)
        unbias, unbias_square = 1 / (1 - 0.9**step), 1 / (1 - 0.999**step)

        def step_parameter(
            p: np.ndarray,
            m: np.ndarray,
            v: np.ndarray,
            unbias: float = unbias,
            unbias_square: float = unbias_square,
        ) -> np.ndarray:
            return p - hyperparams.learning_rate * unbias * m / (np.sqrt(unbias_square * v) + hyperparams.adam_epsilon)

        params = jax.tree.map(step_parameter, params, first, second)
    return params


def gradients(params: PyTree, batch: Batch, offsets: np.ndarray, hyperparams: Hyperparams) -> dict[str, PyTree]:
    """Computes the gradients of the loss of a minibatch.

    Args:
        params: parameters by part: "policy", "value" and "log_scale".
        batch: minibatch [B, ...] with normalised advantages.
        offsets: perturbation of the action mean of each sample [B, A].
        hyperparams: hyperparameters, plain numbers.

    Returns:
        The gradients by part.
    """
    eps, count = hyperparams.clip_epsilon, len(batch.obs)
    scale = np.exp(params["log_scale"])
    loc, policy_layers = _forward(params["policy"], batch.obs)
    z = (batch.action - loc - offsets) / scale
    log_prob = (-0.5 * z**2 - params["log_scale"] - 0.5 * np.log(2 * np.pi)).sum(-1)
    ratio = np.exp(log_prob - batch.log_prob)
    unclipped = np.where(batch.advantage >= 0, ratio < 1 + eps, ratio > 1 - eps)
    log_prob_gradient = -(unclipped * ratio * batch.advantage / count)[:, None]
    log_scale_gradient = (log_prob_gradient * (z**2 - 1)).sum(0) - hyperparams.entropy_coefficient

    value, value_layers = _forward(params["value"], batch.obs)
    value = value[:, 0]
    error = value - batch.target
    near_error = np.clip(value, batch.value - eps, batch.value + eps) - batch.target
    value_gradient = np.where(error**2 >= near_error**2, error, near_error * (np.abs(value - batch.value) < eps))
    value_gradient *= hyperparams.value_coefficient / count
    return {
        "policy": _backward(params["policy"], policy_layers, log_prob_gradient * z / scale),
        "value": _backward(params["value"], value_layers, value_gradient[:, None]),
        "log_scale": log_scale_gradient,
    }


def standardize(x: np.ndarray) -> np.ndarray:
    """Normalises an array to mean 0 and standard deviation 1.

    Args:
        x: numbers of any shape.

    Returns:
        Numbers of the same shape.
    """
    return (x - x.mean()) / (x.std() + 1e-8)


def advantages(
    rewards: np.ndarray, values: np.ndarray, next_values: np.ndarray, terminated: np.ndarray, ended: np.ndarray
) -> np.ndarray:
    """Estimates advantages (Schulman et al. 2016, eq. 16) with gamma = 0.99 and lambda = 0.95.

    Args:
        rewards: rewards [T, N].
        values: values of the observations [T, N].
        next_values: values of the next observations [T, N].
        terminated: whether the task ended [T, N] bool.
        ended: whether the episode ended, by termination or time limit [T, N] bool.

    Returns:
        Advantages [T, N].
    """
    found, following = np.zeros(rewards.shape), np.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + 0.99 * next_values[t] * ~terminated[t] - values[t]
        found[t] = following = delta + 0.99 * 0.95 * following * ~ended[t]
    return found


def _forward(layers: Layers, x: ArrayLike) -> tuple[np.ndarray, list[np.ndarray]]:
    """Computes the outputs of a network, and the inputs of each of its layers."""
    x, names, inputs = np.asarray(x), sorted(layers), []
    for name in names:
        inputs.append(x)
        x = x @ layers[name]["kernel"] + layers[name]["bias"]
        x = x if name == names[-1] else np.tanh(x)
    return x, inputs


def _backward(
    layers: Layers, inputs: list[np.ndarray], output_gradient: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Computes the gradients of a network from that of its output and the inputs of its layers."""
    grads = {}
    for name, x in reversed(list(zip(sorted(layers), inputs, strict=True))):
        grads[name] = {"kernel": x.T @ output_gradient, "bias": output_gradient.sum(0)}
        output_gradient = (output_gradient @ layers[name]["kernel"].T) * (
            1 - x**2
        )  # x is a tanh, except in the first layer
    return grads


def _float64(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
