"""Pictures of small tasks, drawn from what the policy sees."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

SIZE = 400  # pixels of a picture, each way
FINE = 4  # is drawn as many times larger first, so that edges are smooth
WHITE, INK, RED, YELLOW = (255, 255, 255), (40, 40, 40), (204, 77, 77), (220, 180, 0)
Draw = Callable[[ImageDraw.ImageDraw, np.ndarray], None]


def picture(draw: Draw, obs: np.ndarray) -> Image.Image:
    """The picture of an observation [O]."""
    image = Image.new("RGB", (FINE * SIZE, FINE * SIZE), WHITE)
    draw(ImageDraw.Draw(image), obs)
    return image.reduce(FINE)


def pendulum(canvas: ImageDraw.ImageDraw, obs: np.ndarray) -> None:
    """The rod, upright at angle 0, to the left at positive angles; obs: cosine, sine, velocity."""
    cosine, sine, _ = map(float, obs)
    center, length, half = FINE * SIZE / 2, FINE * SIZE * 0.34, FINE * 13
    tip = center - length * sine, center - length * cosine
    across = half * cosine, -half * sine
    corners = [(x + sign * across[0], y + sign * across[1]) for sign in (1, -1) for x, y in ((center, center), tip)]
    canvas.polygon([corners[0], corners[1], corners[3], corners[2]], fill=RED)
    for place in ((center, center), tip):
        _disk(canvas, place, half, RED)
    _disk(canvas, (center, center), FINE * 5, INK)


def mountain_car(canvas: ImageDraw.ImageDraw, obs: np.ndarray) -> None:
    """The car in its valley, and the flag; obs: position in -1.2 ... 0.6, velocity."""
    canvas.line([_on_track(x) for x in np.linspace(-1.2, 0.6, 200)], fill=INK, width=FINE * 2)
    x, y = _on_track(0.45)
    canvas.line([x, y, x, y - FINE * 50], fill=INK, width=FINE * 2)
    canvas.polygon([(x, y - FINE * 50), (x, y - FINE * 34), (x + FINE * 24, y - FINE * 42)], fill=YELLOW)

    (x, y), (ahead_x, ahead_y) = _on_track(float(obs[0])), _on_track(float(obs[0]) + 0.001)
    tilt = math.atan2(ahead_y - y, ahead_x - x)

    def placed(along: float, up: float) -> tuple[float, float]:
        return (
            x + FINE * (along * math.cos(tilt) + up * math.sin(tilt)),
            y + FINE * (along * math.sin(tilt) - up * math.cos(tilt)),
        )

    canvas.polygon(
        [placed(*corner) for corner in ((-16, 6), (16, 6), (16, 14), (8, 21), (-8, 21), (-16, 14))], fill=RED
    )
    for along in (-9, 9):
        _disk(canvas, placed(along, 6), FINE * 5, INK)


def numbers(canvas: ImageDraw.ImageDraw, obs: np.ndarray, largest: np.ndarray) -> None:
    """Any observation [O]: a bar for each number, up or down, by its share of the largest of the episode [O]."""
    middle, width = FINE * SIZE / 2, FINE * SIZE / len(obs)
    for index, share in enumerate(obs / np.where(largest > 0, largest, 1.0)):
        left, right = (index + 0.15) * width, (index + 0.85) * width
        top, bottom = sorted((middle, middle - 0.45 * FINE * SIZE * float(share)))
        canvas.rectangle([left, top, right, bottom], fill=RED)
    canvas.line([0, middle, FINE * SIZE, middle], fill=INK, width=FINE * 2)


def _on_track(position: float) -> tuple[float, float]:
    """Where a position lies, with room for a car at both ends."""
    height = 0.45 * math.sin(3 * position) + 0.55
    return FINE * SIZE * (0.06 + 0.88 * (position + 1.2) / 1.8), FINE * SIZE * (0.92 - 0.62 * height)


def _disk(canvas: ImageDraw.ImageDraw, place: tuple[float, float], radius: float, color: tuple[int, int, int]) -> None:
    x, y = place
    canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)


# By name of the environment, and the seconds of a step.
DRAWINGS: dict[str, tuple[Draw, float]] = {
    "gymnax/Pendulum-v1": (pendulum, 0.05),
    "gymnax/MountainCarContinuous-v0": (mountain_car, 1 / 30),
}
