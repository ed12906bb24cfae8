"""Curves of learning."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from recording import Row
from rpo_jax.analysis.panels import Line, Panel, draw_panels

METHODS = ["ppo", "rpo"]
UNITS = {"episode_return": "return", "entropy": "entropy (nats)"}


def curve(run: Row, name: str, setting: int = 0) -> Line:
    """Returns the curves of a setting of a run by their name, a row for each seed."""
    return Line(np.asarray(run["steps"]), np.asarray(run["curves"][name], float)[setting])


def curves_panel(title: str, name: str, lines: Mapping[str, Line]) -> Panel:
    """Returns a panel of the curves of that name."""
    return Panel(title, "environment steps of each run", UNITS[name], lines)


def draw_methods(runs: list[Row]) -> Figure:
    """A panel for each run, with the returns of PPO and RPO."""
    name = "episode_return"
    return draw_panels(
        [
            curves_panel(run["label"], name, {method: curve(run, name, n) for n, method in enumerate(METHODS)})
            for run in runs
        ]
    )
