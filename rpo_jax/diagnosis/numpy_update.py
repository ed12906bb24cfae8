"""An update of RPO in NumPy, in float64, with gradients worked out by hand: what XLA's answer is held against.

Normal head, tanh networks, clipped value loss, one learning rate. Formulas: RPO (Rahman & Xue 2022, Algorithm 1), PPO
(arXiv 1707.06347, eq. 7 and 9), Adam (Kingma & Ba 2015, Algorithm 1).
"""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.types import Batch


def update(params: Any, minibatches: Iterable[tuple[Batch, Any]], hyperparams: Hyperparams) -> Any:
    """Parameters after a step of Adam for each minibatch.

    Args:
        params: flax's, of the actor-critic.
        minibatches: each a batch [B, ...] before its advantages are normalised, and the perturbation of its samples
            [B, A].
        hyperparams: plain numbers.
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

        def moved(p: Any, m: Any, v: Any, unbias: float = unbias, unbias_square: float = unbias_square) -> Any:
            return p - hyperparams.learning_rate * unbias * m / (np.sqrt(unbias_square * v) + hyperparams.adam_epsilon)

        params = jax.tree.map(moved, params, first, second)
    return params


def gradients(params: Any, batch: Batch, offsets: np.ndarray, hyperparams: Hyperparams) -> Any:
    """Gradients of the loss of a minibatch, by name of the part."""
    eps, count = hyperparams.clip_epsilon, len(batch.obs)
    scale = np.exp(params["log_scale"])
    loc, policy_layers = _forward(params["policy"], batch.obs)
    z = (batch.action - loc - offsets) / scale
    log_prob = (-0.5 * z**2 - params["log_scale"] - 0.5 * np.log(2 * np.pi)).sum(-1)
    ratio = np.exp(log_prob - batch.log_prob)
    pulls = np.where(batch.advantage >= 0, ratio < 1 + eps, ratio > 1 - eps)
    of_log_prob = -(pulls * ratio * batch.advantage / count)[:, None]
    of_log_scale = (of_log_prob * (z**2 - 1)).sum(0) - hyperparams.entropy_coefficient

    value, value_layers = _forward(params["value"], batch.obs)
    value = value[:, 0]
    error = value - batch.target
    near_error = np.clip(value, batch.value - eps, batch.value + eps) - batch.target
    of_value = np.where(error**2 >= near_error**2, error, near_error * (np.abs(value - batch.value) < eps))
    of_value *= hyperparams.value_coefficient / count
    return {
        "policy": _backward(params["policy"], policy_layers, of_log_prob * z / scale),
        "value": _backward(params["value"], value_layers, of_value[:, None]),
        "log_scale": of_log_scale,
    }


def standardize(x: np.ndarray) -> np.ndarray:
    """Zero mean and unit deviation."""
    return (x - x.mean()) / (x.std() + 1e-8)


def advantages(
    rewards: np.ndarray, values: np.ndarray, next_values: np.ndarray, terminated: np.ndarray, ended: np.ndarray
) -> np.ndarray:
    """Generalised advantages [T, N] (Schulman et al. 2016, eq. 16), with gamma 0.99 and lambda 0.95; all [T, N]."""
    found, following = np.zeros(rewards.shape), np.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + 0.99 * next_values[t] * ~terminated[t] - values[t]
        found[t] = following = delta + 0.99 * 0.95 * following * ~ended[t]
    return found


def _forward(layers: Any, x: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs of a network, and what each of its layers saw."""
    names, seen = sorted(layers), []
    for name in names:
        seen.append(x)
        x = x @ layers[name]["kernel"] + layers[name]["bias"]
        x = x if name == names[-1] else np.tanh(x)
    return x, seen


def _backward(layers: Any, seen: list[np.ndarray], of_output: np.ndarray) -> Any:
    grads = {}
    for name, x in reversed(list(zip(sorted(layers), seen, strict=True))):
        grads[name] = {"kernel": x.T @ of_output, "bias": of_output.sum(0)}
        of_output = (of_output @ layers[name]["kernel"].T) * (1 - x**2)  # x is a tanh, but for the observation
    return grads


def _float64(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)
