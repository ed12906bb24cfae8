"""RPO over the range of alpha (the paper's Fig 9)."""

import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pages.markdown import paragraph
from pages.paper import Comparison
from pages.paper_runs import Group, Runs, mean
from recording import Row
from rpo_jax.analysis.sensitivity import effective_dimensionality, normalize_scores, sensitivity

PAGE = Comparison("alpha", "PPO is RPO with alpha 0. In the picture it is at the left end.")
LEFT = 3e-4  # where alpha 0 is drawn
PANELS = (("returns", "return"), ("entropy", "entropy (nats)"), ("scale", "sigma (action units)"))


def render(parts: list[Row]) -> str:
    """The section."""
    return PAGE.render(parts, paragraph(_sensitivity(PAGE.groups(parts))))


def _sensitivity(groups: dict[Group, dict[str, Runs]]) -> str:
    """What one alpha for all tasks costs, if several tasks have runs of the same ones."""
    names = list(dict.fromkeys(name for methods in groups.values() for name in methods))
    complete = [methods for methods in groups.values() if set(methods) == set(names)]
    scores = np.array([[_mean_return(methods[name]) for name in names] for methods in complete])
    if len(complete) < 2 or len(names) < 3 or np.isnan(scores).any():
        return ""
    scores = normalize_scores(scores)
    best = names[int(scores.mean(0).argmax())]
    return (
        f"Over {len(complete)} tasks, with mean returns scaled so that 0 and 1 are the 5th and 95th percentiles over "
        f"alphas: the best alpha for all ({best}) reaches {scores.mean(0).max():.2f}, and the best of each task "
        f"{scores.max(1).mean():.2f}, of which the noise of the seeds is a part. The difference is the sensitivity, "
        f"{sensitivity(scores):.2f}; the effective dimensionality is {effective_dimensionality(scores)} of 1 (Adkins "
        "et al. 2024)."
    )


def _mean_return(runs: Runs) -> float:
    """Over runs that did not diverge; NaN if all did."""
    return float(np.mean(runs.known)) if len(runs.known) else np.nan


def draw(parts: list[Row]) -> Figure:
    """Return, entropy and sigma over alpha: every seed, the mean and its interval; a row for each task."""
    groups = PAGE.groups(parts)
    figure = Figure(figsize=(13, 3 * len(groups)), layout="constrained")
    for row, (group, methods) in zip(figure.subplots(len(groups), 3, squeeze=False), groups.items(), strict=True):
        by_alpha = sorted((_alpha(name), runs) for name, runs in methods.items())
        for axes, (name, label) in zip(row, PANELS, strict=True):
            _draw(axes, by_alpha, name)
            axes.set_xscale("log")
            axes.set_xlabel("alpha (action units)")
            axes.set_ylabel(label)
            axes.set_title(str(group), fontsize=10)
            axes.grid(alpha=0.3)
        row[-1].set_yscale("log")
    return figure


def _draw(axes: Axes, by_alpha: list[tuple[float, Runs]], name: str) -> None:
    values = [getattr(runs, name) for _, runs in by_alpha]
    alphas = [max(alpha, LEFT) for alpha, _ in by_alpha]
    for alpha, of_alpha in zip(alphas, values, strict=True):
        axes.plot([alpha] * len(of_alpha), of_alpha, ".", color="#777777", markersize=3)
    axes.plot(alphas, [np.nanmean(x) for x in values], color="#0072B2", marker="o", markersize=4)
    found = [(alpha, one) for alpha, x in zip(alphas, values, strict=True) if (one := mean(x))]
    axes.fill_between(
        [alpha for alpha, _ in found], [one.low for _, one in found], [one.high for _, one in found], alpha=0.2
    )


def _alpha(name: str) -> float:
    found = re.search(r"alpha (.+)", name)
    return float(found[1]) if found else {"ppo": 0.0, "rpo": 0.5}[name]
