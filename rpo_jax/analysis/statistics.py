"""Statistics of scores over runs and tasks, as recommended by Agarwal et al. (NeurIPS 2021, arXiv 2108.13264)."""

import numpy as np
from scipy.stats import trim_mean, ttest_ind

from rpo_jax.analysis.intervals import LEVEL, Interval


def interquartile_mean(scores: np.ndarray) -> float:
    """Computes the mean of the middle half of all scores (Agarwal et al. 2021, section 4.3).

    Args:
        scores: scores of S seeds on T tasks [S, T], or of a single task [S], without NaN.
    """
    return float(trim_mean(np.ravel(scores), 0.25))


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> float:
    """Computes how likely a run is better than one of another method on the same task; ties count half.

    Of several tasks it is the mean (Agarwal et al. 2021, section 4.3).

    Args:
        scores: scores of S seeds on T tasks [S, T], or of a single task [S].
        others: those of the other method [S', T] or [S'].
    """
    ours, theirs = scores[:, None], others[None, :]
    return float(np.mean((ours > theirs) + 0.5 * (ours == theirs)))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Computes the share of runs whose score is above each threshold (Agarwal et al. 2021, section 4.2).

    Args:
        scores: scores of S seeds on T tasks [S, T], or of a single task [S].
        thresholds: K thresholds [K].

    Returns:
        Shares [K], between 0 and 1; of tasks the mean.
    """
    return np.array([np.mean(scores > threshold) for threshold in thresholds])


def difference_of_means(scores: np.ndarray, others: np.ndarray, level: float = LEVEL) -> Interval:
    """Computes the difference of two means and its interval by Welch's t, which is right for few seeds too.

    Args:
        scores: scores of S seeds of a method on one task [S].
        others: those of another method [S'].
        level: as of `bootstrap`.

    Returns:
        The mean of the first minus that of the second, and the bounds.
    """
    value = np.asarray(np.mean(scores) - np.mean(others))
    if np.ptp(scores) == np.ptp(others) == 0:  # of which there is no t
        return Interval(value, value, value)
    low, high = ttest_ind(scores, others, equal_var=False).confidence_interval(level)
    return Interval(value, np.asarray(low), np.asarray(high))
