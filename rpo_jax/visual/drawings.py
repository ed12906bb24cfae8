"""Drawings of small tasks, made from the observations of the policy."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

SIZE = 400  # width and height of an image in pixels
FINE = 4  # images are drawn this many times larger and then reduced, so that edges are smooth
WHITE, INK, RED, YELLOW = (255, 255, 255), (40, 40, 40), (204, 77, 77), (220, 180, 0)
Draw: TypeAlias = Callable[[ImageDraw.ImageDraw, np.ndarray], None]


def draw_image(draw: Draw, obs: np.ndarray) -> Image.Image:
    """Draws an observation.

    Args:
        draw: function that draws this task, such as `pendulum`.
        obs: observation [O].

    Returns:
        An image of `SIZE` x `SIZE` pixels.
    """
    image = Image.new("RGB", (FINE * SIZE, FINE * SIZE), WHITE)
    draw(ImageDraw.Draw(image), obs)
    return image.reduce(FINE)


def pendulum(canvas: ImageDraw.ImageDraw, obs: np.ndarray) -> None:
    """Draws the rod of Pendulum-v1: upright at angle 0, and to the left at positive angles.

    Args:
        canvas: where to draw.
        obs: cosine and sine of the angle, angular velocity [3].
    """
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
    """Draws the car of MountainCarContinuous-v0 in its valley, and the flag.

    Args:
        canvas: where to draw.
        obs: position between -1.2 and 0.6, velocity [2].
    """
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
    """Draws the numbers of any observation as bars, upwards if positive.

    Args:
        canvas: where to draw.
        obs: observation [O].
        largest: largest absolute value of each number in the episode [O], which has a bar of full length.
    """
    middle, width = FINE * SIZE / 2, FINE * SIZE / len(obs)
    for index, share in enumerate(obs / np.where(largest > 0, largest, 1.0)):
        left, right = (index + 0.15) * width, (index + 0.85) * width
        top, bottom = sorted((middle, middle - 0.45 * FINE * SIZE * float(share)))
        canvas.rectangle([left, top, right, bottom], fill=RED)
    canvas.line([0, middle, FINE * SIZE, middle], fill=INK, width=FINE * 2)


def _on_track(position: float) -> tuple[float, float]:
    """The pixel of a position of the car, with a margin for the car at both ends."""
    height = 0.45 * math.sin(3 * position) + 0.55
    return FINE * SIZE * (0.06 + 0.88 * (position + 1.2) / 1.8), FINE * SIZE * (0.92 - 0.62 * height)


def _disk(canvas: ImageDraw.ImageDraw, place: tuple[float, float], radius: float, color: tuple[int, int, int]) -> None:
    x, y = place
    canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)


# Drawing function and seconds per step, by name of the environment.
DRAWINGS: dict[str, tuple[Draw, float]] = {
    "gymnax/Pendulum-v1": (pendulum, 0.05),
    "gymnax/MountainCarContinuous-v0": (mountain_car, 1 / 30),
}
