"""The names under which curves are drawn."""

import numpy as np

from rpo_jax.algorithm.metrics import METRICS, ROLLOUT_METRICS
from rpo_jax.loggers.points import EVALUATED
from rpo_jax.settings.spec import RunSpec

GROUPS = {name: f"{'rollout' if name in ROLLOUT_METRICS else 'update'}/{name}" for name in METRICS}


def tagged(metrics: dict[str, np.ndarray], spec: RunSpec) -> dict[str, np.ndarray]:
    """Metrics [H, S] by tag: each by its own name, and as the notes that preset `seed-notes` transcribes have them.

    Theirs are the policy's loss with its entropy bonus, the mean squared error without 1/2, and the sum of a round's
    rewards; but our losses are means over a round's epochs, where theirs are of the last.
    """
    bonus = np.reshape(spec.hyperparams.entropy_coefficient, (-1, 1)) * metrics["entropy"]
    return {
        "loss/policy": metrics["policy_loss"] - bonus,
        "loss/value": 2.0 * metrics["value_loss"],
        "stats/returns": metrics["round_reward"],
        "evaluation/return": metrics[EVALUATED],
        **{tag: metrics[name] for name, tag in GROUPS.items()},
    }
