"""Pictures of lines and of final returns show what they are given."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.stats import binomtest

from rpo_jax.analysis.curves import COLORS
from rpo_jax.analysis.intervals import bounds_of_share, interval_of_mean
from rpo_jax.analysis.panels import Line, Panel, draw_panels, draw_returns, profile_line
from rpo_jax.analysis.statistics import performance_profile

X = np.arange(4.0)
ROWS = np.arange(12.0).reshape(3, 4)


def panel(log: Any = "", **lines: Line) -> Panel:
    return Panel("title", "x (s)", "y (m)", lines, log)


def test_panels_have_one_legend_units_and_colors_of_methods() -> None:
    figure = draw_panels([panel(ppo=Line(X, ROWS), rpo=Line(X, ROWS)), panel(rpo=Line(X, ROWS))])
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes] == [("x (s)", "y (m)")] * 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ppo", "rpo"]
    lines: list[Any] = figure.axes[1].lines[:]
    assert {to_hex(line.get_color()) for line in lines} == {to_hex(COLORS["rpo"])}
    figure.draw_without_rendering()
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_a_panel_shows_seeds_mean_and_interval() -> None:
    axes: Any = draw_panels([panel(rpo=Line(X, ROWS))]).axes[0]
    assert len(axes.lines) == 4
    np.testing.assert_allclose(axes.lines[-1].get_ydata(), ROWS.mean(0))
    assert len(axes.collections) == 1
    axes = draw_panels([panel(rpo=Line(X, ROWS[0], "mean"))]).axes[0]
    assert len(axes.lines) == 1
    assert not axes.collections
    axes = draw_panels([panel(rpo=Line(X, ROWS, "points"))]).axes[0]
    assert sorted(axes.lines[0].get_ydata()) == sorted(ROWS.ravel())


def test_settings_have_seeds_of_their_own() -> None:
    rows = ROWS.copy()
    rows[2, 1:], rows[:, 3] = np.nan, np.nan
    axes: Any = draw_panels([panel(rpo=Line(X, rows, "settings"))]).axes[0]
    dots, mean = axes.lines
    np.testing.assert_array_equal(dots.get_ydata(), rows.ravel())
    np.testing.assert_array_equal(mean.get_ydata(), [4.0, 3.0, 4.0, np.nan])  # of three seeds, two, two and none
    (band,) = axes.collections
    found = interval_of_mean(rows[:, 0])
    assert found
    corners = np.concatenate([path.vertices for path in band.get_paths()])
    np.testing.assert_allclose([corners[:, 1].min(), corners[:, 1].max()], [found.low, found.high])
    assert set(corners[:, 0]) == {0.0}  # two seeds have no interval


def test_axes_are_logarithmic_where_asked_and_spare_ones_are_left() -> None:
    figure = draw_panels([panel("xy", a=Line(X + 1, ROWS + 1)), panel(a=Line(1e5 * X, ROWS))], columns=2, spare=1)
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    figure.draw_without_rendering()
    assert "200k" in [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert [axes.axison for axes in figure.axes] == [True, True, True, False]


def test_returns_are_drawn_with_their_intervals_beside_published_ones() -> None:
    values = np.array([1.0, 2.0, 6.0, np.nan])
    figure = draw_returns({"task": {"ppo": values, "rpo": values + 1}}, {"task": {"rpo": 9.0}})
    axes: Any = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["ppo\n1 of 4 diverged", "rpo\n1 of 4 diverged"]
    dots, mean, bar, *rest = axes.lines
    np.testing.assert_allclose(dots.get_xdata(), values[:3])
    np.testing.assert_allclose(mean.get_xdata(), [3.0])
    found = interval_of_mean(values[:3])
    assert found is not None
    np.testing.assert_allclose(bar.get_xdata(), [found.low, found.high])
    assert rest[-1].get_marker() == "D"
    assert rest[-1].get_xdata() == pytest.approx([9.0])
    assert "diamond" in figure.get_suptitle()


def test_a_profile_is_the_share_of_seeds_above() -> None:
    scores, thresholds = np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.5, 3.0])
    line = profile_line(scores, thresholds)
    np.testing.assert_allclose(line.rows.mean(0), performance_profile(scores, thresholds))


def test_shares_have_intervals_of_shares() -> None:
    rows = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    expected = [binomtest(int(column.sum()), 4).proportion_ci(method="wilson") for column in rows.T]
    np.testing.assert_allclose(np.stack(bounds_of_share(rows), axis=1), expected, atol=1e-12)
    figure = draw_panels([Panel("", "x", "y", {"ppo": Line(np.arange(3.0), rows, "share")})])
    (band,) = figure.axes[0].collections
    box = band.get_datalim(figure.axes[0].transData)
    np.testing.assert_allclose([box.y0, box.y1], [expected[1].low, expected[0].high], atol=1e-12)
