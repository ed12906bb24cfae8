"""A law: RPO is a floor under the standard deviation sigma of the policy; and rivals of RPO that have its sigma.

In the first minibatch the perturbation z changes the log-ratio of an action by x z / sigma - z^2 / (2 sigma^2) in each
of k dimensions, with x standard normal. Its standard deviation is about alpha sqrt(k / 3) / sigma. The law says that
sigma ends where that equals the clipping range epsilon: then many samples are clipped, and little makes sigma smaller.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from recording import Row, records
from rpo_jax import make_env

USEFUL = 0.3  # sigma at which the law's alpha aims, in halves of the action range
CLIP_EPSILON = 0.2  # of preset `paper`
Settings = Mapping[str, Any]


def predicted_sigma(alpha: float, action_size: int, clip_epsilon: float = CLIP_EPSILON) -> float:
    """Sigma at which the law expects RPO to end, in action units.

    Args:
        alpha: of RPO, in action units.
        action_size: number of action dimensions k.
        clip_epsilon: PPO's clipping range.
    """
    return alpha * math.sqrt(action_size / 3) / clip_epsilon


def suggested_range(settings: Settings) -> float:
    """Alpha of `rpo-range` with which the law expects sigma to be `USEFUL`, in halves of the action range."""
    return _rounded(USEFUL / predicted_sigma(1.0, make_env(settings["env"]).action_size))


def log_std_of_rpo(settings: Settings) -> float:
    """Logarithm of the sigma with which RPO ended on the same task."""
    return _rounded(math.log(_mean_of_rpo([row["final_scale"] for row in _ppo_and_rpo(settings)])))


def coefficient_of_rpo(settings: Settings) -> float:
    """The entropy coefficient, of those tried, with which PPO's entropy ended closest to RPO's."""
    wanted = _mean_of_rpo([row["summary"]["final_entropy"] for row in _ppo_and_rpo(settings)])
    tried = [row for row in _same_task(settings) if isinstance(row["call"].get("entropy_coefficient"), list)]
    ended = np.nanmean(
        np.concatenate([np.array(row["summary"]["final_entropy"], float) for row in tried], axis=1), axis=1
    )
    return tried[0]["call"]["entropy_coefficient"][int(np.nanargmin(np.abs(ended - wanted)))]


# By a function of this module: the calls of the experiment whose results it reads.
NEEDED = {log_std_of_rpo: ("ppo, rpo",), coefficient_of_rpo: ("ppo, rpo", "choice of a bonus")}


def _ppo_and_rpo(settings: Settings) -> list[Row]:
    return [row for row in _same_task(settings) if row["call"].get("rpo_alpha") == [0.0, 0.5]]


def _mean_of_rpo(values: list[Any]) -> float:
    """The mean over seeds of the second setting of each [H, S], RPO; diverged runs, which have none, are left out."""
    return float(np.nanmean(np.concatenate([np.array(of_settings[1], float) for of_settings in values])))


def _same_task(settings: Settings) -> list[Row]:
    names = ("env", "total_timesteps")
    return [row for row in records("paper-noise-floor") if all(row["call"][name] == settings[name] for name in names)]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
