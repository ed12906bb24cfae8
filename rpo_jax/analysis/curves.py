"""Figures of training curves."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from rpo_jax.analysis.intervals import FEWEST, Bounds, bounds_of_mean

if TYPE_CHECKING:
    from rpo_jax.algorithm.config import TrainConfig

FEW_POINTS = 20  # curves with fewer points get markers
MOST_POINTS = 1000  # of a mean and its interval, which are no wider on paper
MOST_IN_AXES = 6  # curves whose legend does not cover them
WIDTH = 150  # characters of a row of the legend below the axes
# Of methods: six colours of Okabe and Ito and three of Tol, which colour-blind readers can tell apart.
COLORS = {
    "rpo": "#0072B2",
    "ppo": "#D55E00",
    "rad": "#009E73",
    "drac": "#CC79A7",
    "drac-kl": "#E69F00",
    "rpo-range": "#56B4E9",
    "rpo-sigma": "#332288",
    "ppo-constant-std": "#882255",
    "ppo-min-std": "#999933",
}
SHADES = ((1.0, 0.45), (0.0, 0.45), (1.0, 0.7), (0.0, 0.7))  # towards white or black, and how far
MARKERS = "os^vDPX<>"  # of the methods in their order, so that they differ without colours
MARKERS_OF_SHADES = "pdHh8"
MARKS = 8  # of a mean, about


class Look(NamedTuple):
    """How the curves of a method or of a setting look.

    Attributes:
        color: of all lines.
        marker: of the mean.
    """

    color: Any
    marker: str


class Curves(NamedTuple):
    """Training curves of one setting of one variant, over U updates and S seeds.

    Attributes:
        steps: environment steps of each run after each update [U].
        episode_return: mean return of the episodes that ended in each update [S, U]; NaN where none ended.
        entropy: entropy of the policy, in nats [S, U].
        evaluation_steps: environment steps of each run at each of E evaluations [E]; E = 0 if there were none.
        evaluation_return: mean return of the episodes of each evaluation [S, E].
    """

    steps: np.ndarray
    episode_return: np.ndarray
    entropy: np.ndarray
    evaluation_steps: np.ndarray = np.zeros(0)
    evaluation_return: np.ndarray = np.zeros((0, 0))


def curves_of(
    config: "TrainConfig",
    metrics: Mapping[str, np.typing.ArrayLike],
    labels: Sequence[str],
    evaluations: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Curves]:
    """Returns the curves of a sweep, by label of the setting.

    Args:
        config: static settings of the runs.
        metrics: metrics {name: [H, S, U]}, from `sweep` or `fit`.
        labels: names of the H settings.
        evaluations: number of updates before each of E evaluations [E], and their mean returns [H, S, E]; None if
            there were none.
    """
    returns, entropy = (np.asarray(metrics[name]) for name in ("episode_return", "entropy"))
    steps = config.round_timesteps * np.arange(1, entropy.shape[-1] + 1)
    updates, means = evaluations or (np.zeros(0), np.zeros((*entropy.shape[:2], 0)))
    evaluated = config.round_timesteps * updates
    return {
        label: Curves(steps, returns[index], entropy[index], evaluated, means[index])
        for index, label in enumerate(labels)
    }


def draw_curves(curves: Mapping[str, Curves], title: str) -> Figure:
    """Plots return and policy entropy over steps: a thin line for each seed, a thick one for their mean.

    Of three seeds or more, the interval of the mean (95%, Student's t) is shaded; means of evaluations are dashed. A
    method has the same colour and marker in every figure; several settings of methods have colours of one scale, in
    their order.
    Means and intervals are shown where all seeds have values.

    Args:
        curves: training curves by the label of the legend: the name of a method, or that of a setting.
        title: title of the figure.

    Returns:
        The figure, not yet saved.
    """
    below = len(curves) > MOST_IN_AXES
    columns = max(1, WIDTH // (max(map(len, curves)) + 8))
    figure = Figure(figsize=(11, 4.2 + below * 0.22 * -(-len(curves) // columns)), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (label, curve), look in zip(curves.items(), looks_of(list(curves)), strict=True):
        draw_curve(left, curve.steps, curve.episode_return, look, label)
        draw_curve(right, curve.steps, curve.entropy, look, label)
        if curve.evaluation_steps.size:
            mean = curve.evaluation_return.mean(0)
            left.plot(
                curve.evaluation_steps, mean, look.marker, color=look.color, linestyle="--", markeredgecolor="white"
            )
    left.set_ylabel("return of the episodes that ended")
    right.set_ylabel("policy entropy (nats)")
    for axes in (left, right):
        axes.set_xlabel("environment steps of each run")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
    lines, labels = left.get_legend_handles_labels()
    if len(labels) > 1 and below:
        figure.legend(lines, labels, fontsize="small", loc="outside lower center", ncols=columns)
    elif len(labels) > 1:
        left.legend(fontsize="small")
    figure.suptitle(f"{title}\n{_explain(curves.values())}", fontsize="medium")
    return figure


def _explain(curves: Collection[Curves]) -> str:
    words = ["thin: each seed", "thick: their mean"]
    if any(len(curve.entropy) >= FEWEST for curve in curves):
        words.append("shaded: its 95% interval")
    if any(curve.evaluation_steps.size for curve in curves):
        words.append("dashed: evaluations of the mean action")
    return ", ".join(words)


def looks_of(labels: list[str]) -> list[Look]:
    """Returns the looks of methods if `labels` name some; else those of a scale.

    A label that begins with a method and a comma, such as "rpo, alpha 0.01", has a shade of its colour; others take the
    looks that are left.
    """
    if not set(labels) & set(COLORS):
        colors = ["C0"] if len(labels) == 1 else colormaps["viridis"](np.linspace(0, 0.9, len(labels)))
        return [Look(color, marker) for color, marker in zip(colors, itertools.cycle(MARKERS), strict=False)]
    looks = {name: Look(color, marker) for (name, color), marker in zip(COLORS.items(), MARKERS, strict=True)}
    methods = [label.partition(",")[0] for label in labels]
    left = [look for name, look in looks.items() if name not in methods]
    used = dict.fromkeys(methods, 0)  # shades
    found = []
    for label, method in zip(labels, methods, strict=True):
        if method not in looks:
            found.append(left.pop(0) if left else Look("#777777", "*"))
        elif label in looks:
            found.append(looks[label])
        else:
            marker = MARKERS_OF_SHADES[sum(used.values()) % len(MARKERS_OF_SHADES)]
            found.append(Look(_shade(looks[method].color, used[method]), marker))
            used[method] += 1
    return found


def _shade(color: str, index: int) -> Any:
    """A lighter or a darker color."""
    towards, share = SHADES[index % len(SHADES)]
    return tuple((1 - share) * np.array(to_rgb(color)) + share * towards)


def draw_curve(
    axes: Axes,
    steps: np.ndarray,
    rows: np.ndarray,
    look: Look,
    label: str,
    thin: bool = True,
    bounds: Bounds = bounds_of_mean,
) -> None:
    """Plots the seeds of one method, their mean, and its interval from three seeds on.

    Args:
        axes: where.
        steps: environment steps of each run [U].
        rows: values of every seed [S, U]; NaN where there are none.
        look: of the method.
        label: of the legend.
        thin: whether to draw each seed, and not only their mean.
        bounds: computes the bounds of the interval [P] from values [S, P].
    """
    known = [~np.isnan(row) for row in rows]
    color, marker = look.color, look.marker if max((ok.sum() for ok in known), default=0) < FEW_POINTS else ""
    thick = {"color": color, "linewidth": 2.2, "label": label, "marker": look.marker, "markeredgecolor": "white"}
    for row, ok in zip(rows, known, strict=True) if thin else ():
        axes.plot(steps[ok], row[ok], color=color, linewidth=0.8, alpha=0.4, marker=marker, markersize=4)
    if not all(ok.any() for ok in known):
        axes.plot([], [], **thick)  # for the legend
        return
    # Where every seed has begun to end episodes, and none has diverged.
    begin, end = max(steps[ok][0] for ok in known), min(steps[ok][-1] for ok in known)
    shown = steps[(begin <= steps) & (steps <= end)]
    shown = shown[np.unique(np.linspace(0, len(shown) - 1, MOST_POINTS).astype(int))] if len(shown) else shown
    between = np.stack([np.interp(shown, steps[ok], row[ok]) for row, ok in zip(rows, known, strict=True)])
    axes.plot(shown, between.mean(0), **thick, markevery=max(1, len(shown) // MARKS))
    if len(rows) >= FEWEST and len(shown):
        low, high = bounds(between)
        axes.fill_between(shown, low, high, color=color, alpha=0.2, linewidth=0)
