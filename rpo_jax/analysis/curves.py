"""Figures of training curves."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FEW_POINTS = 20  # curves with fewer points get markers


class Curves(NamedTuple):
    """Training curves of one setting of one variant, over U updates and S seeds.

    Attributes:
        steps: environment steps of each run after each update [U].
        episode_return: mean return of the episodes that ended in each update [S, U]; NaN where none ended.
        entropy: entropy of the policy, in nats [S, U].
    """

    steps: np.ndarray
    episode_return: np.ndarray
    entropy: np.ndarray


def draw_curves(curves: Mapping[str, Curves], title: str) -> Figure:
    """Plots return and policy entropy over steps: a thin line for each seed, a thick one for their mean.

    Args:
        curves: training curves by the label of the legend.
        title: title of the figure.

    Returns:
        The figure, not yet saved.
    """
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, (label, curve) in enumerate(curves.items()):
        color = f"C{index % 10}"
        _draw(left, curve.steps, curve.episode_return, color, label)
        _draw(right, curve.steps, curve.entropy, color, label)
    left.set_ylabel("return of the episodes that ended")
    right.set_ylabel("policy entropy (nats)")
    for axes in (left, right):
        axes.set_xlabel("environment steps of each run")
        axes.grid(alpha=0.3)
    if len(curves) > 1 and left.get_legend_handles_labels()[0]:
        left.legend(fontsize="small")
    figure.suptitle(title)
    return figure


def _draw(axes: Axes, steps: np.ndarray, rows: np.ndarray, color: str, label: str) -> None:
    known = [~np.isnan(row) for row in rows]
    marker = "o" if max((ok.sum() for ok in known), default=0) < FEW_POINTS else ""
    for row, ok in zip(rows, known, strict=True):
        axes.plot(steps[ok], row[ok], color=color, linewidth=0.8, alpha=0.4, marker=marker, markersize=4)
    filled = [np.interp(steps, steps[ok], row[ok]) for row, ok in zip(rows, known, strict=True) if ok.any()]
    if filled:
        begin = min(np.argmax(ok) for ok in known if ok.any())
        axes.plot(steps[begin:], np.mean(filled, axis=0)[begin:], color=color, linewidth=2.2, label=label)
