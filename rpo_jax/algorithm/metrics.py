"""Metrics of an update, computed inside the compiled program."""

from typing import Any

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.sharing import WHOLE, Share
from rpo_jax.algorithm.types import Batch, Transition

Metrics = dict[str, jax.Array]

ROLLOUT_METRICS = {
    "episodes": "episodes that ended in the rollout",
    "episode_return": "mean undiscounted return of these episodes, without broken ones; NaN if none ended",
    "episode_length": "mean length in steps of these episodes, without broken ones; NaN if none ended",
    "broken_episodes": "episodes that ended because the simulator returned a non-finite number",
    "round_reward": "sum of rewards over the T steps of the rollout, mean over environments",
    "explained_variance": "1 - Var(target - V) / Var(target), before learning",
}
LOSS_METRICS = {
    "policy_loss": "clipped surrogate",
    "value_loss": "1/2 mean squared error of the value, clipped or not",
    "entropy": "entropy of the unperturbed policy, in nats",
    "approx_kl": "mean of r - 1 - log r, an estimate of KL(rollout policy, perturbed policy)",
    "clip_fraction": "fraction of samples whose ratio is outside of the clipping interval",
    "grad_norm": "global norm of the gradient, before clipping",
}
METRICS = {
    **ROLLOUT_METRICS,
    **LOSS_METRICS,
    "epochs": "epochs done; fewer than num_epochs if the KL exceeded target_kl",
}


def as_rows(metrics: Metrics) -> jax.Array:
    """Stacks `metrics`, all `METRICS` [...], and returns rows [..., K]: one array takes fewer operations than K."""
    return jnp.stack([metrics[name] for name in METRICS], axis=-1)


def as_metrics(rows: Any) -> dict[str, Any]:
    """Returns the `METRICS` {name: [...]} of `rows` [..., K], of JAX or NumPy: the inverse of `as_rows`."""
    return {name: rows[..., column] for column, name in enumerate(METRICS)}


def rollout_metrics(rollout: Transition, batch: Batch, share: Share = WHOLE) -> Metrics:
    """Computes the `ROLLOUT_METRICS` [] of a rollout.

    Args:
        rollout: transitions [T, N, ...].
        batch: what is learned from them [T, N, ...].
        share: part of the environments that this device steps.

    Returns:
        Metrics by name, over all devices.
    """
    ended = rollout.ended
    whole = ended & ~rollout.broken
    rows = (
        ended,
        jnp.where(whole, rollout.episode_return, 0.0),
        jnp.where(whole, rollout.episode_length, 0),
        rollout.broken,
        rollout.reward,
        batch.target,
        batch.target - batch.value,
    )
    mean, variance = (x[:, 0, 0] for x in share.mean_and_variance(jnp.stack(rows, dtype=jnp.float32), (1, 2)))
    share_ended, returns, lengths, share_broken, reward, *_ = mean
    steps = ended.size * share.count
    *_, of_target, of_error = variance
    return {
        "episodes": jnp.round(share_ended * steps),
        "episode_return": returns / (share_ended - share_broken),
        "episode_length": lengths / (share_ended - share_broken),
        "broken_episodes": jnp.round(share_broken * steps),
        "round_reward": reward * len(ended),
        "explained_variance": 1.0 - of_error / of_target,
    }
