"""Figures of lines in panels, and of final returns, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

from rpo_jax.analysis.curves import Look, draw_curve, looks_of
from rpo_jax.analysis.intervals import bounds_of_mean, bounds_of_share, interval_of_mean

THOUSANDS = 10_000  # numbers on an axis from which on they are abbreviated
MOST_TICKS = 5  # of a logarithmic axis
FEW_DECADES = 2.5  # on a logarithmic axis, with room for several numbers in each


class Line(NamedTuple):
    """A line: of several seeds, their mean and its interval.

    Attributes:
        x: where [P].
        rows: values of S seeds [S, P], or of one line [P]; NaN where there are none.
        style: what is drawn: "seeds", each by a thin line, and their mean; the "mean" alone; the "share" of seeds of
            which something is true, which is 1 or 0; "points" of all seeds; or "settings", where each x has seeds of
            its own: their points, their mean, and its interval.
    """

    x: np.ndarray
    rows: np.ndarray
    style: Literal["seeds", "mean", "share", "points", "settings"] = "seeds"


class Panel(NamedTuple):
    """Axes with lines.

    Attributes:
        title: above them; "" if there is none.
        xlabel: what x is, and its unit.
        ylabel: what y is, and its unit.
        lines: lines by the label of the legend.
        log: the logarithmic axes, "", "x", "y" or "xy".
    """

    title: str
    xlabel: str
    ylabel: str
    lines: Mapping[str, Line]
    log: Literal["", "x", "y", "xy"] = ""


def draw_panels(panels: Sequence[Panel], columns: int = 4, spare: int = 0) -> Figure:
    """Plots lines in panels: a thin line for each seed, a thick one for their mean, its interval shaded.

    Intervals are 95%, of three seeds or more: Student's t of means, and Wilson's of shares. A label has one colour in
    all panels, and a method the same in every figure. One legend is above all panels.

    Args:
        panels: what to plot, one or more.
        columns: largest number of panels side by side.
        spare: number of panels after these, whose axes are left for the caller to draw in.

    Returns:
        The figure, not yet saved; its axes are in the order of the panels.
    """
    figure, spaces = _spaces(len(panels) + spare, columns, 3.0)
    labels = list(dict.fromkeys(label for panel in panels for label in panel.lines))
    looks = dict(zip(labels, looks_of(labels), strict=True))
    for axes, panel in zip(spaces, panels, strict=False):
        axes.set_title(panel.title, fontsize="medium")
        axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel)
        for label, line in panel.lines.items():
            _draw(axes, line, looks[label], label)
        for name in panel.log:
            axes.set(**{f"{name}scale": "log"})
            axis = axes.xaxis if name == "x" else axes.yaxis
            bounds = axes.dataLim.intervalx if name == "x" else axes.dataLim.intervaly
            decades = np.log10(bounds[1] / bounds[0]) if min(bounds) > 0 else 0.0
            axis.set_major_locator(LogLocator(subs=(1,) if decades > FEW_DECADES else (1, 3), numticks=MOST_TICKS))
            axis.set_major_formatter(lambda x, _: _short(x))
            axis.set_minor_formatter(NullFormatter())
        if "x" not in panel.log and max((np.abs(line.x).max() for line in panel.lines.values()), default=0) > THOUSANDS:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
    drawn = {label: line for axes in spaces for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if len(labels) > 1:
        figure.legend([drawn[label] for label in labels], labels, loc="outside upper center", ncols=min(len(labels), 6))
    return figure


def _short(number: float) -> str:
    """Such as 0.03, or 3e-3."""
    return f"{number:g}" if 9e-3 < number < THOUSANDS else f"{number:.0e}".replace("e-0", "e-").replace("e+0", "e")


def _spaces(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure and its `count` axes, at most so many `columns` side by side, of so many inches' `height` each."""
    columns = min(columns, count)
    rows = -(-count // columns)
    width = 6.0 if count == 1 else 13 / max(columns, 3)
    figure = Figure(figsize=(width * columns, 0.4 + height * rows), layout="constrained")
    spaces = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in spaces[count:]:
        axes.set_axis_off()
    return figure, spaces[:count]


def _draw(axes: Axes, line: Line, look: Look, label: str) -> None:
    x, rows = np.asarray(line.x), np.atleast_2d(line.rows)
    if line.style == "points":
        axes.plot(np.tile(x, len(rows)), rows.ravel(), "o", color=look.color, markersize=4, label=label, zorder=3)
    elif line.style == "settings":
        _draw_settings(axes, x, rows, look, label)
    else:
        bounds = bounds_of_share if line.style == "share" else bounds_of_mean
        draw_curve(axes, x, rows, look, label, line.style == "seeds", bounds)


def _draw_settings(axes: Axes, x: np.ndarray, rows: np.ndarray, look: Look, label: str) -> None:
    of_settings = [column[~np.isnan(column)] for column in rows.T]
    axes.plot(np.tile(x, len(rows)), rows.ravel(), ".", color=look.color, alpha=0.4)
    means = [values.mean() if len(values) else np.nan for values in of_settings]
    axes.plot(
        x, means, look.marker, linestyle="-", color=look.color, linewidth=2.2, markeredgecolor="white", label=label
    )
    found = [interval_of_mean(values) for values in of_settings]
    low, high = np.array([(one.low, one.high) if one else (np.nan, np.nan) for one in found]).T
    axes.fill_between(x, low, high, color=look.color, alpha=0.2, linewidth=0)


def draw_returns(
    returns: Mapping[str, Mapping[str, np.ndarray]],
    published: Mapping[str, Mapping[str, float]] | None = None,
    unit: str = "return",
    columns: int = 3,
) -> Figure:
    """Plots the final returns of methods: a dot for each seed, a disk for their mean, a bar for its 95% interval.

    Args:
        returns: returns of S seeds [S], by task and method; NaN of a run that diverged, which is left out and counted.
        published: means that others have published, by task and method; drawn as diamonds.
        unit: label of the horizontal axes.
        columns: largest number of panels side by side.

    Returns:
        The figure, a panel for each task, not yet saved.
    """
    figure, spaces = _spaces(len(returns), columns, 0.8 + 0.3 * max(map(len, returns.values())))
    labels = list(dict.fromkeys(label for methods in returns.values() for label in methods))
    looks = dict(zip(labels, looks_of(labels), strict=True))
    for axes, (task, methods) in zip(spaces, returns.items(), strict=True):
        for place, (label, values) in enumerate(methods.items()):
            known, color = np.asarray(values, float)[~np.isnan(values)], looks[label].color
            axes.plot(
                known, np.full(len(known), place), "o", color=color, markersize=5, markeredgecolor="white", zorder=3
            )
            axes.plot(known.mean() if known.size else np.nan, place, "o", color=color, markersize=10, zorder=4)
            if found := interval_of_mean(known):
                axes.plot([found.low, found.high], [place, place], color=color, linewidth=3, solid_capstyle="butt")
            if (theirs := (published or {}).get(task, {}).get(label)) is not None:
                axes.plot(theirs, place, "D", color="black", markerfacecolor="white", markersize=7, zorder=5)
        axes.set_yticks(range(len(methods)), [_name(label, values) for label, values in methods.items()])
        axes.set_ylim(len(methods) - 0.4, -0.6)
        axes.set_xlabel(unit)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_title(task, fontsize="medium")
        axes.grid(alpha=0.3, axis="x")
    words = "dots: seeds, disk: their mean, bar: its 95% interval" + (", diamond: published" if published else "")
    figure.suptitle(words, fontsize="small")
    return figure


def _name(label: str, values: np.ndarray) -> str:
    lost = int(np.isnan(values).sum())
    return f"{label}\n{lost} of {len(values)} diverged" if lost else label


def profile_line(scores: np.ndarray, thresholds: np.ndarray) -> Line:
    """Returns the performance profile of a method (Agarwal et al. 2021, section 4.2) as a line.

    Args:
        scores: scores of S seeds [S].
        thresholds: K thresholds [K].

    Returns:
        The share of seeds above each threshold.
    """
    return Line(thresholds, (scores[:, None] > thresholds).astype(float), "share")
