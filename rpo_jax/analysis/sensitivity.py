"""How much hyperparameters matter.

Of a grid on several environments by the method of Adkins, Bowling and White (NeurIPS 2024, arXiv 2412.07165): scores
have one axis for each hyperparameter, after that of the environments. Of settings drawn from ranges, on one
environment, by the variance that each hyperparameter explains (Plischke, Borgonovo and Smith 2013).
"""

import itertools
from collections.abc import Iterable

import numpy as np
from scipy.stats import rankdata

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
        scores: normalized score of every setting [E, ...], without NaN.

    Returns:
        The smallest number that reaches 95% of the mean score with all of them tuned; the whole of one below 0.

    Raises:
        ValueError: if a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN: leave out settings whose runs diverged, or give them a score")
    axes = range(1, scores.ndim)
    best = _tuned(scores, axes)
    wanted = min(best, KEPT * best)
    subsets = itertools.chain.from_iterable(itertools.combinations(axes, size) for size in range(scores.ndim))
    return next(len(tuned) for tuned in subsets if _tuned(scores, tuned) >= wanted)


def _tuned(scores: np.ndarray, axes: Iterable[int]) -> np.floating:
    """The best mean over environments if the hyperparameters of these axes are tuned for each environment."""
    return scores.max(axis=tuple(axes)).mean(axis=0).max()


def explained_shares(values: np.ndarray, scores: np.ndarray, classes: int = 8) -> np.ndarray:
    """Computes how much of the differences between settings each hyperparameter explains by itself.

    It is the share of the variance of the ranks of the scores that lies between classes of equal size of that
    hyperparameter (its correlation ratio), corrected for what chance would give; what several do together counts in
    none.

    Args:
        values: D hyperparameters of H settings that were drawn independently [H, D].
        scores: score of each setting [H], larger is better; NaN is the worst.
        classes: largest number of classes.

    Returns:
        The shares [D], 0 ... 1.
    """
    ranks = rankdata(np.where(np.isnan(scores), -np.inf, scores))
    return np.array([_explained(column, ranks, min(classes, len(ranks) // 4)) for column in values.T])


def explained_by_chance(values: np.ndarray, scores: np.ndarray, samples: int = 200) -> float:
    """Computes how large the largest share is where no hyperparameter matters: in 95% of permutations of the scores.

    Args:
        values: D hyperparameters of H settings [H, D].
        scores: score of each setting [H].
        samples: number of permutations, which are always the same.

    Returns:
        The share that `explained_shares` has to exceed.
    """
    rng = np.random.default_rng(0)
    return float(np.quantile([explained_shares(values, rng.permutation(scores)).max() for _ in range(samples)], 0.95))


def _explained(column: np.ndarray, ranks: np.ndarray, classes: int) -> float:
    different = np.unique(column)
    places = rankdata(column, "ordinal") - 1
    groups = np.searchsorted(different, column) if len(different) <= classes else places * classes // len(column)
    used, total = np.unique(groups), np.sum((ranks - ranks.mean()) ** 2)
    if len(used) < 2 or len(used) >= len(ranks) or total == 0:
        return 0.0
    within = sum(np.sum((ranks[groups == group] - ranks[groups == group].mean()) ** 2) for group in used)
    return max(0.0, float(1 - within / total * (len(ranks) - 1) / (len(ranks) - len(used))))


def explaining(shares: np.ndarray) -> int:
    """Computes the effective dimensionality of a search: how many hyperparameters do nearly all that single ones do.

    Args:
        shares: share that each hyperparameter explains [D], from `explained_shares`.

    Returns:
        The smallest number of them whose shares have 95% of the sum of all; 0 if none explains anything.
    """
    total = np.cumsum(np.sort(shares)[::-1])
    return int(np.searchsorted(total, KEPT * total[-1]) + 1) if len(total) and total[-1] > 0 else 0
