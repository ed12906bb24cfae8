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
    for other in summaries[1:]:
        if max(len(summaries[0]["settings"]), len(other["settings"])) > 1:
            yield (
                f"{summaries[0]['variant']} and {other['variant']}: several settings each, and the best of several is "
                "flattered by its seeds; compare a setting of each on other seeds"
            )
        else:
            yield _compare(summaries[0], other)


def _compare(summary: JsonObject, other_summary: JsonObject) -> str:
    from rpo_jax.analysis.verdict import judge  # SciPy's statistics take half a second to import

    name, other = summary["variant"], other_summary["variant"]
    returns, others = (np.array(one["final_return"][0], float) for one in (summary, other_summary))
    verdict = judge(returns, others)
    counts = zip((name, other), verdict.diverged, (len(returns), len(others)), strict=True)
    lost = "".join(f", diverged: {count} of {runs} runs of {one}" for one, count, runs in counts if count)
    if verdict.difference is None:
        needed = "that did not diverge are" if any(verdict.diverged) else "are"
        return f"{name} and {other}{lost}: {FEWEST} seeds or more {needed} needed to say which is better"
    found = verdict.difference
    told = f"{name} minus {other}: {found.value:,.1f}, 95% interval {found.low:,.1f} to {found.high:,.1f}{lost}"
    if verdict.better:
        return f"{told}: {name if verdict.better > 0 else other} is better here"
    if verdict.sign:
        return f"{told}: not decided, since {name if verdict.sign > 0 else other} lost runs"
    return f"{told}: not decided with this many seeds"
