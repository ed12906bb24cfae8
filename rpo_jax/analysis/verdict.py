"""Which of two methods is better on a task, if their seeds decide it."""

from typing import NamedTuple

import numpy as np

from rpo_jax.analysis.intervals import FEWEST, Interval
from rpo_jax.analysis.statistics import difference_of_means


class Verdict(NamedTuple):
    """What the seeds of two methods say.

    Runs that diverged are left out of the difference. A method that lost runs so is not called better; one whose rival
    lost runs may be, since these would have been still worse.

    Attributes:
        difference: of the mean scores, first minus second, over the runs that did not diverge; None if fewer than three
            of either did not.
        diverged: number of runs that did, of each method.
        sign: 1 if the interval is above 0, -1 if it is below, 0 if it holds 0 or there is none.
        better: 1 if the first method is better, -1 if the second is, 0 if neither is decided.
    """

    difference: Interval | None
    diverged: tuple[int, int]
    sign: int
    better: int


def judge(scores: np.ndarray, others: np.ndarray) -> Verdict:
    """Compares two methods by Welch's t at 95%.

    Args:
        scores: scores of S seeds of a method on one task [S]; NaN of a run that diverged.
        others: those of another method [S'].

    Returns:
        The verdict on the first method.
    """
    known, others_known = (x[~np.isnan(x)] for x in (scores, others))
    diverged = len(scores) - len(known), len(others) - len(others_known)
    if min(len(known), len(others_known)) < FEWEST:
        return Verdict(None, diverged, 0, 0)
    found = difference_of_means(known, others_known)
    sign = int(found.low > 0) - int(found.high < 0)
    lost = diverged[0] if sign > 0 else diverged[1]
    return Verdict(found, diverged, sign, 0 if lost else sign)
