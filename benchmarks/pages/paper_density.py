"""The density of a normal policy and of its perturbed counterpart (the paper's Fig 1)."""

import numpy as np
from matplotlib.figure import Figure

from experiments import EXPERIMENTS
from pages.findings import claim
from pages.markdown import paragraph, picture, section
from recording import Row
from rpo_jax.analysis.panels import Line, Panel, draw_panels

CLOSE = 0.003  # of densities


def render(runs: list[Row]) -> str:
    """The section."""
    (run,) = runs
    drawn, computed = np.array(run["drawn"]), np.array(run["perturbed"])
    std = np.sqrt(1 + run["alpha"] ** 2 / 3)
    return section(
        EXPERIMENTS["density"].question,
        paragraph(
            "`python benchmarks/paper.py density`.",
            f"The density of N(0, 1), and that of N(z, 1) with z from U(-{run['alpha']:g}, {run['alpha']:g}), as in "
            "the paper's Fig 1. The perturbed one is (F(x + alpha) - F(x - alpha)) / (2 alpha) with the normal "
            f"distribution function F; its standard deviation is sqrt(1 + alpha^2 / 3) = {std:.2f}.",
            claim(
                f"The histogram of {run['samples']:,} numbers that the library draws is nowhere farther from it than "
                f"{CLOSE}.",
                np.abs(drawn - computed).max() < CLOSE,
            ),
            claim(
                f"Their standard deviation is {run['drawn_std']:.2f}.",
                abs(run["drawn_std"] - std) < 6 * std / run["samples"] ** 0.5,
            ),
        ),
        picture("densities", "paper-density"),
    )


def draw(runs: list[Row]) -> Figure:
    """Both densities, and the histogram."""
    (run,) = runs
    lines = {
        "ppo": Line(run["x"], run["normal"]),
        "rpo": Line(run["x"], run["perturbed"]),
        "drawn by the library": Line(run["x"][::2], run["drawn"][::2], "points"),
    }
    return draw_panels([Panel(f"alpha {run['alpha']:g} sigma", "action (units of sigma)", "density", lines)])
