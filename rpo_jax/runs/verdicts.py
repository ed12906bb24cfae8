"""What a comparison has shown, in sentences that follow from its numbers."""

from collections.abc import Iterator

import numpy as np

from rpo_jax.analysis.intervals import FEWEST
from rpo_jax.typing import JsonObject


def verdicts(summaries: list[JsonObject]) -> Iterator[str]:
    """Compares the final returns of the first variant with those of each other, where each has a single setting.

    Args:
        summaries: summaries of the runs of a comparison.

    Yields:
        A sentence for each other variant: the difference, its 95% interval (Welch's t), and what follows.
    """
    if any(len(summary["settings"]) > 1 for summary in summaries):
        return
    for other in summaries[1:]:
        returns, others = (np.array(summary["final_return"][0], float) for summary in (summaries[0], other))
        yield _compare(summaries[0]["variant"], other["variant"], returns, others)


def _compare(name: str, other: str, returns: np.ndarray, others: np.ndarray) -> str:
    from rpo_jax.analysis.statistics import difference_of_means  # SciPy's statistics take half a second to import

    known, others_known = (x[~np.isnan(x)] for x in (returns, others))
    if min(len(known), len(others_known)) < FEWEST:
        return f"{name} and {other}: {FEWEST} seeds or more are needed to say which is better"
    found = difference_of_means(known, others_known)
    told = f"{name} minus {other}: {found.value:,.1f}, 95% interval {found.low:,.1f} to {found.high:,.1f}"
    left_out = len(returns) + len(others) - len(known) - len(others_known)
    diverged = f", runs left out since they diverged: {left_out}" if left_out else ""
    if found.low > 0 or found.high < 0:
        better = name if found.low > 0 else other
        return f"{told}{diverged}: {better} is better here"
    return f"{told}{diverged}: not decided with this many seeds"
