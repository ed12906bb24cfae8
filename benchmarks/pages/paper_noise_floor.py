"""Is RPO a floor under the noise? Its sigma beside a law, and PPO with the same sigma beside RPO."""

from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import FillStyleType

from noise_floor import predicted_sigma
from pages.markdown import paragraph, table
from pages.paper import Comparison
from pages.paper_runs import counted, mean, method_name
from recording import Row

FACTOR = 1.5  # within which the law is said to hold
COLORS = {3: "#E69F00", 10: "#0072B2"}  # by epochs
FILLS: dict[int, FillStyleType] = {3: "none", 10: "full"}
MARKERS = "os^Dv<>"  # by task
HEADER = (
    "task",
    "action dimensions",
    "epochs",
    "alpha",
    "epsilon",
    "seeds",
    "predicted",
    "observed",
    "ratio [95% interval]",
)


def _method(part: Row, index: int) -> str | None:
    """Only what part B compares, by the calls of the experiment."""
    if "law" in part["label"] or "choice" in part["label"]:
        return None
    return "ppo, entropy of RPO" if "by a bonus" in part["label"] else method_name(part, index)


PAGE = Comparison(
    "noise-floor",
    "`ppo-constant-std` holds sigma throughout at the value with which RPO ended on the same task, `ppo-min-std` has "
    "it as a floor, and the entropy coefficient is the one of five that came closest to RPO's entropy on other seeds.",
    method=_method,
    baseline="rpo",
)


class Observed(NamedTuple):
    """Sigma at the end of the runs of a setting [S], and what the law expects."""

    task: str
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


def observed(parts: list[Row]) -> list[Observed]:
    """All settings of RPO with an alpha above 0, with the seeds of all parts."""
    found: dict[tuple[str, int, int, float, float], list[float]] = {}
    for part in parts:
        summary = part["summary"]
        for values, sigma in zip(summary["settings"], part["final_scale"], strict=True):
            if summary["variant"] == "rpo" and values["rpo_alpha"] > 0 and "law" in part["label"]:
                epochs = summary["config"]["num_epochs"]
                task = summary["env"].partition("/")[2]
                key = (task, part["action_size"], epochs, values["rpo_alpha"], values["clip_epsilon"])
                found.setdefault(key, []).extend(sigma)
    return [Observed(*key, np.array(sigma, float)) for key, sigma in found.items()]


def render(parts: list[Row]) -> str:
    """The section."""
    settings = observed(parts)
    return PAGE.render(parts, *([_told(settings), _table(settings)] if settings else []))


def _told(settings: list[Observed]) -> str:
    every = np.concatenate([one.ratio for one in settings])
    ratios = every[~np.isnan(every)]
    if not len(ratios):
        return ""
    lost = len(every) - len(ratios)
    within = (ratios > 1 / FACTOR) & (ratios < FACTOR)
    share = float(np.mean(within))
    low, high = np.quantile(ratios, [0.25, 0.75])
    return paragraph(
        "The law: sigma should end at alpha sqrt(k / 3) / epsilon with k action dimensions and clipping range epsilon, "
        "where the perturbation alone moves the logarithms of ratios by epsilon (standard deviation), so that many "
        "ratios leave that range. It was found by fitting earlier runs, so these are its test.",
        f"{lost} of {len(every)} runs diverged and are left out." if lost else "",
        f"Over {len(ratios)} runs of {len(settings)} settings, observed over predicted has a median of "
        f"{np.median(ratios):.2f} and quartiles of {low:.2f} and {high:.2f}.",
        f"Most runs are within a factor of {FACTOR} of it ({share:.0%})."
        if share > 0.5
        else f"Most runs are not within a factor of {FACTOR} of it ({share:.0%} are).",
    )


def _table(settings: list[Observed]) -> str:
    rows = [
        [
            one.task,
            str(one.action_size),
            str(one.epochs),
            f"{one.alpha:g}",
            f"{one.epsilon:g}",
            counted(one.sigma),
            f"{one.predicted:.3g}",
            *_mean_and_ratio(one),
        ]
        for one in settings
    ]
    return table(HEADER, rows)


def _mean_and_ratio(one: Observed) -> tuple[str, str]:
    """The mean sigma, and that of the ratio with its interval."""
    if np.isnan(one.sigma).all():
        return "", ""
    found = mean(one.ratio)
    bounds = f" [{found.low:.2f}, {found.high:.2f}]" if found else ""
    return f"{np.nanmean(one.sigma):.3g}", f"{np.nanmean(one.ratio):.2f}{bounds}"


def draw(parts: list[Row]) -> Figure:
    """Curves of the rivals; and observed sigma over predicted sigma, a mark for each task."""
    settings = observed(parts)
    return PAGE.draw(parts, *([partial(_draw_law, settings)] if settings else []))


def _draw_law(settings: list[Observed], axes: Axes) -> None:
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
