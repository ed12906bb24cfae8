"""Statistics of scores over runs and tasks, as recommended by Agarwal et al. (NeurIPS 2021, arXiv 2108.13264)."""

import numpy as np
from scipy.stats import t, trim_mean, ttest_ind

from rpo_jax.analysis.intervals import LEVEL, RESAMPLES, Interval, bootstrap, bounds_of_mean


def interquartile_mean(scores: np.ndarray) -> float:
    """Computes the mean of the middle half of all scores (Agarwal et al. 2021, section 4.3).

    A quarter of the scores, rounded down, is left out at either end: none of three, one at either end of five.

    Args:
        scores: scores of S seeds on T tasks [S, T], or of a single task [S], without NaN.
    """
    return float(trim_mean(np.ravel(scores), 0.25))


def probability_of_improvement(scores: np.ndarray, others: np.ndarray) -> float:
    """Computes how likely a run is better than one of another method on the same task; ties count half.

    Of several tasks it is the mean (Agarwal et al. 2021, section 4.3).

    Args:
        scores: scores of S seeds on T tasks [S, T], or of a single task [S], without NaN.
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


def sample_efficiency(*curves: np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES) -> Interval:
    """Computes the interquartile mean over runs of several tasks at each of P points of their curves.

    The intervals are bootstrap intervals, whose samples draw the runs of each task separately (Agarwal et al. 2021,
    section 4.3): of few seeds they are too narrow.

    Args:
        *curves: scores of the S seeds of each task [S, P], on a scale that tasks share, without NaN. S may differ.
        level: as of `bootstrap`.
        resamples: as of `bootstrap`.

    Returns:
        The means and their bounds [P].
    """

    def middle(*of_tasks: np.ndarray) -> np.ndarray:
        return trim_mean(np.concatenate(of_tasks), 0.25, axis=0)

    return bootstrap(middle, *curves, level=level, resamples=resamples, stratified=False)


def difference_of_means(scores: np.ndarray, others: np.ndarray, level: float = LEVEL) -> Interval:
    """Computes the difference of two means and its interval by Welch's t, which is right for few seeds too.

    Args:
        scores: scores of S seeds of a method on one task [S].
        others: those of another method [S'].
        level: as of `bootstrap`.

    Returns:
        The mean of the first minus that of the second, and the bounds; -inf and inf if one has a single seed.
    """
    value = np.asarray(np.mean(scores) - np.mean(others))
    if min(len(scores), len(others)) < 2:
        return Interval(value, np.asarray(-np.inf), np.asarray(np.inf))
    if np.ptp(scores) == np.ptp(others) == 0:  # of which there is no t
        return Interval(*[np.asarray(scores[0] - others[0])] * 3)
    low, high = ttest_ind(scores, others, equal_var=False).confidence_interval(level)
    return Interval(value, np.asarray(low), np.asarray(high))


def mean_of_seeds(scores: np.ndarray, level: float = LEVEL) -> Interval:
    """Computes a mean and its interval by Student's t, which is right for few seeds too.

    Args:
        scores: scores of S seeds of a method on one task [S], two or more.
        level: as of `bootstrap`.
    """
    return Interval(np.asarray(np.mean(scores)), *bounds_of_mean(scores, level))


def ratio_of_differences(
    scores: np.ndarray, others: np.ndarray, base: np.ndarray, base_others: np.ndarray, level: float = LEVEL
) -> Interval:
    """Computes the ratio of two differences of means, and its interval by Fieller's theorem (1954).

    The interval holds every ratio r for which t does not reject that the first difference is r times the second. Its
    degrees of freedom are Welch's for the ratio that was found.

    Args:
        scores: scores of S seeds of a method on one task [S].
        others: those of another method [S'], whose mean is subtracted.
        base: those of a method under other conditions [B].
        base_others: those of the other method there [B'].
        level: as of `bootstrap`.

    Returns:
        The ratio, NaN if the second difference is 0, and its bounds; -inf and inf if that may be 0, or if a sample is a
        single seed.
    """
    samples = scores, others, base, base_others
    above, below = np.mean(scores) - np.mean(others), np.mean(base) - np.mean(base_others)
    ratio = np.asarray(above / below if below else np.nan)
    if not below or min(map(len, samples)) < 2:
        return Interval(ratio, np.asarray(-np.inf), np.asarray(np.inf))
    variances = np.array([_variance(x) for x in samples])
    terms = np.array([1.0, 1.0, ratio**2, ratio**2]) * variances
    if not terms.any():  # of which there is no t
        return Interval(ratio, ratio, ratio)
    freedom = terms.sum() ** 2 / np.sum(terms**2 / (np.array([len(x) for x in samples]) - 1))
    squared = t.ppf((1 + level) / 2, freedom) ** 2
    above_variance, below_variance = variances[:2].sum(), variances[2:].sum()
    # (above - r below)^2 <= squared (above_variance + r^2 below_variance)
    leading = below**2 - squared * below_variance
    if leading <= 0:
        return Interval(ratio, np.asarray(-np.inf), np.asarray(np.inf))
    root = np.sqrt((above * below) ** 2 - leading * (above**2 - squared * above_variance))
    return Interval(ratio, (above * below - root) / leading, (above * below + root) / leading)


def _variance(scores: np.ndarray) -> float:
    """Of the mean."""
    return float(np.var(scores, ddof=1) / len(scores))
