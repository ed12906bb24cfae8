"""What a round reports, as sums inside jit: one row per update."""

import jax
import jax.numpy as jnp

from rpo_jax.types import Batch, Transition


def rollout_metrics(rollout: Transition, batch: Batch) -> dict[str, jax.Array]:
    """Metrics [] of a round's acting.

    `episode_return` and `episode_length` are means over the `episodes` that ended in the round, NaN if none did.
    `round_reward` is the sum of an environment's rewards over the T steps, mean over environments.
    `explained_variance` is `1 - Var(target - V) / Var(target)`.
    """
    ended = rollout.ended
    episodes = ended.sum().astype(jnp.float32)
    return {
        "episodes": episodes,
        "episode_return": jnp.where(ended, rollout.episode_return, 0.0).sum() / episodes,
        "episode_length": jnp.where(ended, rollout.episode_length, 0).sum() / episodes,
        "round_reward": rollout.reward.sum(0).mean(),
        "explained_variance": 1.0 - (batch.target - batch.value).var() / batch.target.var(),
    }
