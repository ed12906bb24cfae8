"""Speed and memory over environments and seeds, and the stages of an iteration."""

import numpy as np
from matplotlib.figure import Figure

from pages.markdown import in_mib, paragraph, picture, section, table
from recording import Row
from rpo_jax.analysis.panels import Line, Panel, draw_panels

STAGES = ("iteration", "rollout", "environment steps", "advantages", "update")
STAGES_HEADER = ("work", "steps", "iteration, ms", "rollout", "the environments' steps in it", "advantages", "update")


def render(runs: list[Row], name: str = "scaling", where: str = "") -> str:
    """The section.

    Args:
        runs: the results.
        name: of the picture.
        where: ends the title.
    """
    stages = [
        [run["work"], f"{run['steps']:,}", *(f"{run['milliseconds'][part]:,.1f}" for part in STAGES)]
        for run in runs
        if run["part"] == "stages"
    ]
    return section(
        f"How do speed and memory grow{where}?",
        paragraph(
            "Whole training by `sweep`: 32 steps, 4 epochs, 8 minibatches of whole environments, 64-64 networks; the "
            "median of three measurements of a second or more, without compilation. Memory is what XLA states that the "
            "compiled program needs on all devices together: arguments, results and all temporary values.",
        ),
        picture("speed and memory", name),
        table(["task", "environments of a seed", "seeds", "steps/s", "memory"], map(_row, _points(runs))),
        paragraph(
            "One iteration of one run on one device. Each stage is compiled and timed by itself, so the stages need "
            "not add up to the whole.",
        ),
        table(STAGES_HEADER, stages),
    )


def _points(runs: list[Row]) -> list[Row]:
    return [run for run in runs if run["part"] != "stages"]


def _row(run: Row) -> list[str]:
    found = [f"{run['steps_per_second']:,}", in_mib(run["bytes"])] if "bytes" in run else ["out of memory", ""]
    return [run["env"], f"{run['num_envs']:,}", f"{run['num_seeds']:,}", *found]


def draw(runs: list[Row]) -> Figure:
    """Speed and memory over environments, and over seeds."""
    panels, missing = [], []
    for name, unit in (("steps_per_second", "thousand steps/s"), ("bytes", "memory, MiB")):
        for part, count in (("environments", "num_envs"), ("seeds", "num_seeds")):
            own = [run for run in _points(runs) if run["part"] == part]
            envs = list(dict.fromkeys(run["env"] for run in own))
            fixed = f"{own[0]['num_envs']:,} environments each" if part == "seeds" and own else "one seed"
            log = "xy" if name == "bytes" else "x"
            title = f"{envs[0]}, {fixed}" if len(envs) == 1 else fixed
            panels.append(Panel(title, part, unit, {env: _line(own, env, count, name) for env in envs}, log))
            missing.append([run[count] for run in own if "bytes" not in run and name == "bytes"])
    figure = draw_panels(panels, columns=2)
    for axes, counts in zip(figure.axes, missing, strict=True):
        for place in counts:
            axes.axvline(place, color="k", linestyle=":")
            middle = axes.get_xaxis_transform()  # height as a fraction of the panel's
            axes.text(place, 0.5, "out of memory", transform=middle, rotation=90, ha="right", va="center")
    return figure


def _line(runs: list[Row], env: str, count: str, name: str) -> Line:
    done = [run for run in runs if run["env"] == env and "bytes" in run]
    scale = 2**20 if name == "bytes" else 1000
    return Line(np.array([run[count] for run in done]), np.array([[run[name] / scale for run in done]]), "mean")
