"""Curves of learning."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from recording import Row
from rpo_jax.analysis.curves import draw_curve, looks_of

METHODS = ["ppo", "rpo"]
LOOKS = dict(zip(METHODS, looks_of(METHODS), strict=True))
UNITS = {"episode_return": "return", "entropy": "entropy (nats)"}
COLUMNS = 4


def draw_curves(axes: Axes, run: Row, name: str, setting: int = 0, method: str = "rpo") -> None:
    """Draws each seed's curve, their mean and its interval.

    Args:
        axes: where.
        run: of the results.
        name: of the curves.
        setting: index of the setting.
        method: ppo or rpo.
    """
    draw_curve(axes, np.asarray(run["steps"]), np.asarray(run["curves"][name], float)[setting], LOOKS[method], method)
    axes.grid(alpha=0.3)
    axes.set_xlabel("environment steps of each run")
    axes.set_ylabel(UNITS[name])
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def draw_methods(runs: list[Row]) -> Figure:
    """A panel for each run, with the returns of PPO and RPO."""
    rows = -(-len(runs) // COLUMNS)
    figure = Figure(figsize=(13, 3 * rows), layout="constrained")
    panels = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, run in zip(panels, runs, strict=False):
        for setting, method in enumerate(METHODS):
            draw_curves(axes, run, "episode_return", setting, method)
        axes.set_title(run["label"], fontsize=10)
    for axes in panels[len(runs) :]:
        axes.set_axis_off()
    figure.axes[0].legend()
    return figure
