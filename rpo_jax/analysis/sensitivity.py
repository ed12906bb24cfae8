"""How much hyperparameters matter, by the method of Adkins, Bowling and White (NeurIPS 2024, arXiv 2412.07165).

Scores are those of a grid: one axis for each hyperparameter, after that of the environments.
"""

import itertools
from collections.abc import Iterable

import numpy as np

KEPT = 0.95  # share of the score of settings tuned for each environment that has to be reached


def normalize_scores(scores: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Scales the scores of each environment so that 0 and 1 are their 5th and 95th percentiles.

    Args:
        scores: mean score over seeds of every setting [E, ...], for E environments.
        *others: scores of other methods on the same environments, which count in the percentiles too.

    Returns:
        Normalized scores [E, ...]; 0 where all scores of an environment are the same.
    """
    together = np.concatenate([x.reshape(len(x), -1) for x in (scores, *others)], axis=1)
    low, high = (x.reshape(-1, *[1] * (scores.ndim - 1)) for x in np.percentile(together, [5, 95], axis=1))
    return (scores - low) / np.where(high > low, high - low, 1.0)


def sensitivity(scores: np.ndarray) -> float:
    """Computes how much is lost if one setting is used for all environments, instead of the best for each.

    Args:
        scores: normalized score of every setting [E, ...].

    Returns:
        The mean over environments of the best scores, minus the best mean over environments; 0 or more.
    """
    return float(_tuned(scores, range(1, scores.ndim)) - _tuned(scores, ()))


def effective_dimensionality(scores: np.ndarray) -> int:
    """Computes how many hyperparameters have to be tuned for each environment, the others being the same for all.

    Args:
        scores: normalized score of every setting [E, ...].

    Returns:
        The smallest number that reaches 95% of the mean score with all of them tuned.
    """
    axes = range(1, scores.ndim)
    wanted = KEPT * _tuned(scores, axes)
    subsets = itertools.chain.from_iterable(itertools.combinations(axes, size) for size in range(scores.ndim))
    return next(len(tuned) for tuned in subsets if _tuned(scores, tuned) >= wanted)


def _tuned(scores: np.ndarray, axes: Iterable[int]) -> np.floating:
    """The best mean over environments if the hyperparameters of these axes are tuned for each environment."""
    return scores.max(axis=tuple(axes)).mean(axis=0).max()
