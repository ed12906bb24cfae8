"""Does RPO's sigma end where a law expects it?"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.typing import FillStyleType

from noise_floor import predicted_sigma
from pages.markdown import bullets, paragraph, section, table
from pages.paper_runs import counted, is_as_published, is_of_grid, mean, task_of
from recording import Row

FACTOR = 1.5  # within which the law is said to hold
USUAL = (0.5, 0.2)  # alpha and epsilon of preset `paper`
COLORS = {3: "#E69F00", 10: "#0072B2"}  # by epochs
FILLS: dict[int, FillStyleType] = {3: "none", 10: "full"}
MARKERS = "os^Dv<>"  # by task
HEADER = (
    *("task", "steps", "action dimensions", "epochs", "alpha", "epsilon", "seeds"),
    *("predicted", "observed", "ratio [95% interval]"),
)


class Observed(NamedTuple):
    """Sigma at the end of the runs of a setting [S], and what the law expects."""

    task: str
    timesteps: int
    action_size: int
    epochs: int
    alpha: float
    epsilon: float
    sigma: np.ndarray

    @property
    def predicted(self) -> float:
        """Of the law."""
        return predicted_sigma(self.alpha, self.action_size, self.epsilon)

    @property
    def ratio(self) -> np.ndarray:
        """Observed over predicted [S]."""
        return self.sigma / self.predicted


def of_grid(parts: Iterable[Row]) -> list[Observed]:
    """The settings of the experiment on the law: alpha, epsilon and the number of epochs."""
    return observed(filter(is_of_grid, parts))


def observed(parts: Iterable[Row]) -> list[Observed]:
    """All settings of RPO with an alpha above 0, of normal policies as published, with the seeds of all parts."""
    found: dict[tuple[str, int, int, int, float, float], dict[int, float]] = {}
    for part in filter(is_as_published, parts):
        summary = part["summary"]
        for values, sigmas in zip(summary["settings"], part.get("final_scale", []), strict=False):
            if values["rpo_alpha"] > 0:
                key = (
                    task_of(summary),
                    summary["total_timesteps"],
                    part["action_size"],
                    summary["config"]["num_epochs"],
                    values["rpo_alpha"],
                    values["clip_epsilon"],
                )
                found.setdefault(key, {}).update(zip(summary["seeds"], sigmas, strict=True))
    return [Observed(*key, np.array(list(sigma.values()), float)) for key, sigma in found.items()]


def render(done: Mapping[str, list[Row]]) -> str:
    """The section.

    Args:
        done: what was recorded, by experiment.

    Returns:
        The section; "" if the grid was not begun.
    """
    grid = of_grid(done.get("noise-floor", []))
    if not grid:
        return ""
    tasks = {one.task for one in grid}
    others = [
        one for one in observed(itertools.chain(*done.values())) if one[3:6] == (10, *USUAL) and one.task not in tasks
    ]
    return section(
        "Does sigma end where the law of the noise floor expects it?",
        paragraph(
            "The law: sigma should end at alpha sqrt(k / 3) / epsilon with k action dimensions and clipping range "
            "epsilon, where the perturbation alone moves the logarithms of ratios by epsilon (standard deviation), so "
            "that many ratios leave that range. It was found by fitting earlier runs, so these are its test; its grid "
            "is the last panel of the picture above."
        ),
        bullets([*_of_grid_told(grid), *_of_tasks_told(others)]),
        table(HEADER, [_row(one) for one in (*grid, *others)]),
    )


def _of_grid_told(grid: list[Observed]) -> Iterator[str]:
    every = np.concatenate([one.ratio for one in grid])
    ratios = every[~np.isnan(every)]
    if not len(ratios):
        return
    lost = len(every) - len(ratios)
    low, high = np.quantile(ratios, [0.25, 0.75])
    found = [one for one in (mean(one.ratio) for one in grid) if one]
    holding = [one for one in found if one.low <= 1 <= one.high]
    told = [
        f"{lost} of {len(every)} runs diverged and are left out." if lost else "",
        f"Over {len(ratios)} runs of {len(grid)} settings, observed over predicted has a median of "
        f"{np.median(ratios):.2f} and quartiles of {low:.2f} and {high:.2f}; {_within(ratios)}.",
        f"The interval of the ratio holds 1 in {len(holding)} of {len(found)} settings." if found else "",
    ]
    yield " ".join(filter(None, told))
    yield from _exponents(grid)


def _exponents(grid: list[Observed]) -> Iterator[str]:
    """Powers by which sigma grows with what the grid varies, by least squares of logarithms."""
    rows = [(one, sigma) for one in grid for sigma in one.sigma if sigma > 0]
    causes = np.log([(one.alpha, one.epsilon, one.epochs) for one, _ in rows])
    if len(rows) and np.linalg.matrix_rank(causes - causes.mean(0)) == causes.shape[1]:
        sizes = np.log([one.action_size for one, _ in rows]) / 2  # as the law has it
        results = np.log([sigma for _, sigma in rows]) - sizes
        powers = np.linalg.lstsq(np.column_stack([causes, np.ones(len(rows))]), results, rcond=None)[0]
        yield (
            f"By least squares sigma grows as alpha to the power of {powers[0]:.2f} (the law has 1), epsilon to "
            f"{powers[1]:.2f} (-1) and the number of epochs to {powers[2]:.2f} (0)."
        )


def _of_tasks_told(others: list[Observed]) -> Iterator[str]:
    ratios = np.concatenate([one.ratio for one in others]) if others else np.zeros(0)
    if len(ratios := ratios[~np.isnan(ratios)]):
        yield (
            f"On other tasks, with alpha {USUAL[0]:g} and epsilon {USUAL[1]:g}: {_within(ratios)}, and the ratio of a "
            f"run lies between {ratios.min():.2f} and {ratios.max():.2f}."
        )


def _within(ratios: np.ndarray) -> str:
    share = float(np.mean((ratios > 1 / FACTOR) & (ratios < FACTOR)))
    if share > 0.5:
        return f"most runs are within a factor of {FACTOR} of the law ({share:.0%})"
    return f"most runs are not within a factor of {FACTOR} of the law ({share:.0%} are)"


def _row(one: Observed) -> list[str]:
    return [
        one.task,
        f"{one.timesteps / 1e6:.2g}M",
        str(one.action_size),
        str(one.epochs),
        f"{one.alpha:g}",
        f"{one.epsilon:g}",
        counted(one.sigma),
        f"{one.predicted:.3g}",
        *_mean_and_ratio(one),
    ]


def _mean_and_ratio(one: Observed) -> tuple[str, str]:
    """The mean sigma, and that of the ratio with its interval."""
    if np.isnan(one.sigma).all():
        return "", ""
    found = mean(one.ratio)
    bounds = f" [{found.low:.2f}, {found.high:.2f}]" if found else ""
    return f"{np.nanmean(one.sigma):.3g}", f"{np.nanmean(one.ratio):.2f}{bounds}"


def draw_law(settings: list[Observed], axes: Axes) -> None:
    """Observed sigma over predicted sigma, a mark for each task."""
    for task, marker in zip(dict.fromkeys(one.task for one in settings), MARKERS, strict=False):
        for one in settings:
            if one.task == task:
                axes.plot(
                    [one.predicted] * len(one.sigma),
                    one.sigma,
                    marker,
                    color=COLORS[one.epochs],
                    fillstyle=FILLS[one.epochs],
                    markersize=5,
                )
        axes.plot([], [], marker, color="#777777", label=task)
    for epochs in dict.fromkeys(one.epochs for one in settings):
        axes.plot([], [], "o", color=COLORS[epochs], fillstyle=FILLS[epochs], label=f"{epochs} epochs")
    ends = [min(one.predicted for one in settings), max(one.predicted for one in settings)]
    axes.plot(ends, ends, color="black", linewidth=1, label="law")
    axes.set(xscale="log", yscale="log", xlabel="predicted sigma (action units)", ylabel="observed (action units)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
