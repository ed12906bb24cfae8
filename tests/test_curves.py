"""Pictures of training can be read, however many curves there are."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from rpo_jax.algorithm.variants import VARIANTS
from rpo_jax.analysis.curves import COLORS, Curves, draw_curves


def curves_of(labels: list[str]) -> dict[str, Curves]:
    steps = 1000 * np.arange(1, 31)
    return {label: Curves(steps, np.zeros((2, 30)) + index, np.zeros((2, 30))) for index, label in enumerate(labels)}


def colors_of(labels: list[str]) -> list[str]:
    left = draw_curves(curves_of(labels), "title").axes[0]
    return [to_hex(line.get_color()) for line in left.lines if not line.get_label().startswith("_")]  # pyright: ignore


def test_a_method_has_one_color_in_every_picture() -> None:
    assert set(COLORS) == {name for name in VARIANTS if name not in VARIANTS.registered}
    assert len(set(COLORS.values())) == len(COLORS)
    expected = [to_hex(COLORS[name]) for name in ("ppo", "rpo")]
    assert colors_of(["ppo", "rpo"]) == expected
    assert colors_of(["rpo"]) == expected[1:]
    assert colors_of(["ppo", "drac", "rpo"])[::2] == expected


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
