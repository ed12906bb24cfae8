"""Speed and memory over environments and seeds, and the stages of an iteration."""

from typing import Any

from matplotlib.figure import Figure

from pages.markdown import in_mib, paragraph, picture, section, table
from recording import Row

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
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    columns = (("environments", "num_envs"), ("seeds", "num_seeds"))
    for column, (part, count) in enumerate(columns):
        own = [run for run in _points(runs) if run["part"] == part]
        _draw_column(axes[:, column], own, count)
        fixed = sorted({f"{run['num_envs']:,} environments each" for run in own}) if part == "seeds" else ["one seed"]
        axes[0, column].set_title(", ".join(fixed), fontsize=10)
        axes[1, column].set_xlabel(part)
    axes[0, 0].set_ylabel("steps/s")
    axes[1, 0].set_ylabel("memory, MiB")
    for panel in axes.flat:
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
    axes[1, 0].legend()
    return figure


def _draw_column(axes: Any, runs: list[Row], count: str) -> None:
    for env in dict.fromkeys(run["env"] for run in runs):
        done = [run for run in runs if run["env"] == env and "bytes" in run]
        counts = [run[count] for run in done]
        axes[0].plot(counts, [run["steps_per_second"] for run in done], "o-", label=env)
        axes[1].plot(counts, [run["bytes"] / 2**20 for run in done], "o-", label=env)
    for run in runs:
        if "bytes" not in run:
            axes[1].axvline(run[count], color="k", linestyle=":")
            middle = axes[1].get_xaxis_transform()  # height as a fraction of the panel's
            axes[1].text(run[count], 0.5, "out of memory", transform=middle, rotation=90, ha="right", va="center")
