"""Pictures of training can be read, however many curves there are."""

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from scipy.stats import ttest_1samp

from rpo_jax.algorithm.variants import VARIANTS
from rpo_jax.analysis.curves import COLORS, Curves, draw_curves, looks_of
from rpo_jax.analysis.intervals import bounds_of_mean


def curves_of(labels: list[str]) -> dict[str, Curves]:
    steps = 1000 * np.arange(1, 31)
    return {label: Curves(steps, np.zeros((2, 30)) + index, np.zeros((2, 30))) for index, label in enumerate(labels)}


def colors_of(labels: list[str]) -> list[str]:
    left = draw_curves(curves_of(labels), "title").axes[0]
    return [to_hex(line.get_color()) for line in left.lines if not line.get_label().startswith("_")]  # pyright: ignore


def test_a_method_has_one_color_in_every_picture() -> None:
    assert set(COLORS) == {name for name in VARIANTS if name not in VARIANTS.registered}
    assert len(set(COLORS.values())) == len(COLORS)
    assert len({look.marker for look in looks_of(list(COLORS))}) == len(COLORS)  # they differ in grey too
    expected = [to_hex(COLORS[name]) for name in ("ppo", "rpo")]
    assert colors_of(["ppo", "rpo"]) == expected
    assert colors_of(["rpo"]) == expected[1:]
    assert colors_of(["ppo", "drac", "rpo"])[::2] == expected


def test_a_setting_of_a_method_has_a_shade_of_its_color() -> None:
    labels = ["ppo", "rpo", "ppo, entropy 0.01", "ppo, entropy 0.05", "rpo, alpha 0.01", "mine"]
    found = looks_of(labels)
    assert len({to_hex(look.color) for look in found}) == len({look.marker for look in found}) == len(labels)
    for label, look in zip(labels[2:5], found[2:5], strict=True):
        mixed = (np.array(to_rgb(look.color)) - to_rgb(COLORS[label.partition(",")[0]])).round(3)
        assert (mixed >= 0).all() or (mixed <= 0).all()  # with white, or with black
    assert to_hex(found[-1].color) not in (to_hex(COLORS["ppo"]), to_hex(COLORS["rpo"]))


@pytest.mark.parametrize("count", [2, 12, 20])
def test_settings_have_colors_of_their_own_and_a_legend_that_covers_nothing(count: int) -> None:
    labels = [f"rpo rpo_alpha={index}, learning_rate=0.001" for index in range(count)]
    assert len(set(colors_of(labels))) == count
    figure = draw_curves(curves_of(labels), "title")
    figure.draw_without_rendering()
    (legend,) = figure.legends or [figure.axes[0].get_legend()]
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == labels
    if count > 6:
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1


def test_lines_and_axes_are_explained() -> None:
    figure = draw_curves(curves_of(["rpo"]), "rpo on somewhere")
    figure.draw_without_rendering()
    assert "thin: each seed, thick: their mean" in figure.get_suptitle()
    assert "10k" in [text.get_text() for text in figure.axes[0].get_xticklabels()]


def test_intervals_of_means_are_those_of_the_t_test() -> None:
    values = np.random.default_rng(0).normal(3, 2, (4, 6))
    for level in (0.8, 0.95):
        expected = [ttest_1samp(column, 0).confidence_interval(level) for column in values.T]
        np.testing.assert_allclose(np.stack(bounds_of_mean(values, level), axis=1), expected)


@pytest.mark.parametrize("seeds", [3, 5])
def test_an_interval_holds_the_mean_as_often_as_is_said(seeds: int) -> None:
    low, high = bounds_of_mean(np.random.default_rng(1).normal(size=(seeds, 10_000)))
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(0.95, abs=0.01)


def test_intervals_and_evaluations_are_drawn_and_explained() -> None:
    steps, rows = 1000 * np.arange(1, 31), np.arange(90.0).reshape(3, 30)
    rows[1, :2] = np.nan  # no episode has ended
    curve = Curves(steps, rows, rows, steps[9::10], rows[:, 9::10] + 5)
    figure = draw_curves({"rpo": curve}, "title")
    left = figure.axes[0]
    assert "shaded: its 95% interval, dashed: evaluations" in figure.get_suptitle()
    (band,) = left.collections
    low, high = (band.get_datalim(left.transData).y0, band.get_datalim(left.transData).y1)
    lows, highs = bounds_of_mean(rows[:, 2:])
    np.testing.assert_allclose([low, high], [lows.min(), highs.max()])
    (dashed,) = [line for line in left.lines if line.get_linestyle() == "--"]
    np.testing.assert_array_equal(dashed.get_ydata(), curve.evaluation_return.mean(0))
    few = draw_curves({"rpo": Curves(steps, rows[:2], rows[:2])}, "title")
    assert not few.axes[0].collections
    assert "shaded" not in few.get_suptitle()


def test_a_mean_is_that_of_all_seeds_or_is_not_drawn() -> None:
    """One seed begins late, another diverges, and one has a gap in between."""
    steps = 1000 * np.arange(1, 11)
    rows = np.stack([np.full(10, 1.0), np.full(10, 2.0), np.full(10, 6.0)])
    rows[0, :3], rows[1, 7:], rows[2, 4] = np.nan, np.nan, np.nan
    left = draw_curves({"rpo": Curves(steps, rows, rows)}, "title").axes[0]
    (mean,) = [line for line in left.lines if line.get_label() == "rpo"]
    np.testing.assert_array_equal(mean.get_xdata(), steps[3:7])
    np.testing.assert_allclose(np.asarray(mean.get_ydata()), 3.0)
    nothing = draw_curves({"rpo": Curves(steps, np.full((3, 10), np.nan), rows)}, "title").axes[0]
    assert not any(len(np.asarray(line.get_xdata())) for line in nothing.lines)


def test_a_method_keeps_its_color_beside_those_of_users() -> None:
    found = colors_of(["rpo", "mine", "ppo", "another"])
    assert found[::2] == [to_hex(COLORS["rpo"]), to_hex(COLORS["ppo"])]
    assert len(set(found)) == 4


def test_long_runs_are_drawn_in_as_many_points_as_can_be_seen() -> None:
    steps, rows = np.arange(1, 50_001), np.zeros((3, 50_000))
    left = draw_curves({"rpo": Curves(steps, rows, rows)}, "title").axes[0]
    (mean,) = [line for line in left.lines if line.get_label() == "rpo"]
    points = np.asarray(mean.get_xdata())
    assert len(points) <= 1000
    assert (points[0], points[-1]) == (1, 50_000)
