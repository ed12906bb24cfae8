"""Learning on Brax."""

import numpy as np
from matplotlib.figure import Figure

from pages.curves import curve, curves_panel
from pages.findings import claim
from pages.markdown import alternatives, paragraph, picture, section, table
from recording import Row
from rpo_jax.analysis.panels import draw_panels

GREATEST = 1000  # return of inverted_pendulum: 1 a step


def render(runs: list[Row]) -> str:
    """The section."""
    seeds = alternatives(f"{len(run['summary']['seeds'])} seeds" for run in runs)
    finals = {run["label"]: run["summary"]["final_return"][0] for run in runs}
    best = max(finals["inverted_pendulum"])
    header = ["task", "steps a seed", "return: start", "end: mean", "each seed", "alpha"]
    return section(
        "Brax",
        paragraph(
            f"Preset `fast`, backend `spring`, RPO, {seeds}.",
            claim(f"The greatest possible return of inverted_pendulum is {GREATEST}.", best <= GREATEST),
            "Episodes last up to 1000 steps and all environments start together, so long episodes end only at a few "
            "points of the curves.",
        ),
        picture("curves", "brax_fast"),
        table(header, map(_row, runs)),
    )


def _row(run: Row) -> list[str]:
    summary = run["summary"]
    curves = np.asarray(run["curves"]["episode_return"], float)[0]
    known = ~np.isnan(curves).any(0)
    return [
        run["label"],
        f"{summary['total_timesteps']:,}",
        f"{np.mean(curves[:, known][:, :3]):.0f}",
        f"{np.mean(summary['final_return'][0]):.0f}",
        ", ".join(f"{value:.0f}" for value in summary["final_return"][0]),
        f"{summary['settings'][0]['rpo_alpha']:g}",
    ]


def draw(runs: list[Row]) -> Figure:
    """Returns on each task."""
    name = "episode_return"
    return draw_panels([curves_panel(run["label"], name, {"rpo": curve(run, name)}) for run in runs])
