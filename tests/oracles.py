"""The algorithm once more, from the papers' formulas, in NumPy float64; `xp=jnp` lets jax differentiate it."""

from typing import Any

import jax
import numpy as np


def float64(tree: Any) -> Any:
    """Leaves as NumPy float64."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def mlp(params: Any, x: Any, xp: Any = np) -> Any:
    """A tanh network [..., O] -> [..., outputs] of flax's parameters."""
    layers = [params[name] for name in sorted(params)]
    for layer in layers[:-1]:
        x = xp.tanh(x @ layer["kernel"] + layer["bias"])
    return x @ layers[-1]["kernel"] + layers[-1]["bias"]


def act(parts: Any, obs: Any, xp: Any = np) -> tuple[Any, Any]:
    """Location [..., A] and log-scale, [A] or, as the other half of the outputs and within -5 ... 2, [..., A]."""
    outputs = mlp(parts["policy"], obs, xp)
    if "log_scale" in parts:
        return outputs, parts["log_scale"]
    half = outputs.shape[-1] // 2
    return outputs[..., :half], xp.minimum(xp.maximum(outputs[..., half:], -5.0), 2.0)


def normal_log_prob(x: Any, loc: Any, log_scale: Any, xp: Any = np) -> Any:
    """Of a diagonal normal [..., A], summed over dimensions."""
    return (-0.5 * ((x - loc) / xp.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)).sum(-1)


def loss(params: Any, batch: Any, offsets: Any, hyperparams: Any, config: Any, xp: Any = np) -> tuple[Any, dict]:
    """RPO's loss with a normal head, and what it reports; all in one breath, as the papers and PPO's code have it."""
    parts = params["params"]
    eps = hyperparams.clip_epsilon
    loc, log_scale = act(parts, batch.obs, xp)
    log_prob = normal_log_prob(batch.action, loc + offsets, log_scale, xp)
    ratio = xp.exp(log_prob - batch.log_prob)
    advantage = batch.advantage
    if config.normalize_advantages == "minibatch":
        advantage = (advantage - advantage.mean()) / (advantage.std(ddof=int(config.bessel_correction)) + 1e-8)
    policy_loss = -xp.where(
        advantage >= 0, xp.minimum(ratio, 1 + eps) * advantage, xp.maximum(ratio, 1 - eps) * advantage
    ).mean()
    value = mlp(parts["value"], batch.obs, xp)[..., 0]
    errors = (value - batch.target) ** 2
    if config.clip_value_loss:
        near = xp.minimum(xp.maximum(value, batch.value - eps), batch.value + eps)
        errors = xp.maximum(errors, (near - batch.target) ** 2)
    value_loss = errors.mean() / 2
    entropy = (log_scale + 0.5 * np.log(2 * np.pi * np.e)).sum(-1).mean()
    total = policy_loss + hyperparams.value_coefficient * value_loss - hyperparams.entropy_coefficient * entropy
    return total, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "approx_kl": (ratio - 1 - (log_prob - batch.log_prob)).mean(),
        "clip_fraction": ((ratio > 1 + eps) | (ratio < 1 - eps)).mean(),
    }


class Adam:
    """Kingma & Ba 2015, after clipping by the global norm; rates by part of the parameters."""

    def __init__(self, params: Any, epsilon: float, max_norm: float):
        self.params = float64(params)
        self.first = jax.tree.map(np.zeros_like, self.params)
        self.second = jax.tree.map(np.zeros_like, self.params)
        self.steps, self.epsilon, self.max_norm = 0, epsilon, max_norm

    def step(self, grads: Any, rates: dict[str, float]) -> None:
        """One step with rates for the parts "policy", "log_scale" and "value"."""
        grads = float64(grads)
        norm = np.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
        self.steps += 1
        shrink = min(1.0, self.max_norm / norm)
        self.first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * shrink * g, self.first, grads)
        self.second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * (shrink * g) ** 2, self.second, grads)
        directions = jax.tree.map(
            lambda m, v: m / (1 - 0.9**self.steps) / (np.sqrt(v / (1 - 0.999**self.steps)) + self.epsilon),
            self.first,
            self.second,
        )
        self.params = {
            "params": {
                part: jax.tree.map(lambda p, d, rate=rates[part]: p - rate * d, p, directions["params"][part])
                for part, p in self.params["params"].items()
            }
        }
