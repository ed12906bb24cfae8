"""The names (tags) under which TensorBoard and Weights & Biases show the metrics."""

import numpy as np

from rpo_jax.algorithm.metrics import METRICS, ROLLOUT_METRICS
from rpo_jax.loggers.points import EVALUATED
from rpo_jax.settings.spec import RunSpec

GROUPS = {name: f"{'rollout' if name in ROLLOUT_METRICS else 'update'}/{name}" for name in METRICS}


def tag_metrics(metrics: dict[str, np.ndarray], spec: RunSpec) -> dict[str, np.ndarray]:
    """Renames metrics to tags, and adds those of the program that preset `seed-notes` reproduces.

    The latter are the policy loss including the entropy bonus, the mean squared error of the value without the factor
    1/2, and the sum of the rewards of an update. Here losses are means over the epochs of an update; in that program
    they are those of the last epoch.

    Args:
        metrics: {name: [H, S]}, the metrics of a `Point`.
        spec: what is trained.

    Returns:
        {tag: [H, S]}.
    """
    bonus = np.reshape(spec.hyperparams.entropy_coefficient, (-1, 1)) * metrics["entropy"]
    return {
        "loss/policy": metrics["policy_loss"] - bonus,
        "loss/value": 2.0 * metrics["value_loss"],
        "stats/returns": metrics["round_reward"],
        "evaluation/return": metrics[EVALUATED],
        **{tag: metrics[name] for name, tag in GROUPS.items()},
    }
