"""Curves of learning."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from recording import Row

COLORS = {"PPO": "C1", "RPO": "C0"}
COLUMNS = 4


def draw_curves(
    axes: Any, run: Row, name: str, setting: int = 0, method: str = "RPO", label: str | None = None
) -> None:
    """Draws each seed's curve thinly, and the mean over seeds."""
    steps, color = np.asarray(run["steps"]), COLORS[method]
    curves = np.asarray(run["curves"][name], float)[setting]
    for row in curves:
        axes.plot(steps[~np.isnan(row)], row[~np.isnan(row)], color=color, linewidth=0.8, alpha=0.4)
    known = ~np.isnan(curves).any(0)
    axes.plot(steps[known], curves[:, known].mean(0), color=color, linewidth=2.2, label=label)
    axes.grid(alpha=0.3)
    axes.set_xlabel("steps")


def draw_methods(runs: list[Row]) -> Figure:
    """A panel for each run, with the returns of PPO and RPO."""
    rows = -(-len(runs) // COLUMNS)
    figure = Figure(figsize=(13, 3 * rows), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, run in zip(panels, runs, strict=False):
        for setting, method in enumerate(("PPO", "RPO")):
            draw_curves(axes, run, "episode_return", setting, method, method)
        axes.set_title(run["label"], fontsize=10)
    for axes in panels[len(runs) :]:
        axes.set_axis_off()
    figure.axes[0].legend()
    return figure
