"""Frames of small tasks, drawn from what the policy sees."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 400  # pixels of a frame, each way
FINE = 2  # is drawn as many times larger first, so that edges are smooth
WHITE, INK, RED, GREY = (255, 255, 255), (40, 40, 40), (204, 77, 77), (200, 200, 200)
Draw = Callable[[ImageDraw.ImageDraw, np.ndarray, np.ndarray], None]


def frame(draw: Draw, obs: np.ndarray, action: np.ndarray, text: str) -> Image.Image:
    """A frame of what was seen [O] and done [A], with a line of text."""
    image = Image.new("RGB", (FINE * SIZE, FINE * SIZE), WHITE)
    canvas = ImageDraw.Draw(image)
    draw(canvas, obs, action)
    canvas.text((FINE * 10, FINE * 8), text, fill=INK, font=ImageFont.load_default(FINE * 14))
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def pendulum(canvas: ImageDraw.ImageDraw, obs: np.ndarray, action: np.ndarray) -> None:
    """The rod, upright at angle 0, and the torque as an arc with a head; obs: cosine, sine, velocity."""
    center, length, width = FINE * SIZE / 2, FINE * SIZE * 0.34, FINE * 26
    tip = center - length * float(obs[1]), center - length * float(obs[0])
    canvas.line([center, center, *tip], fill=RED, width=width)
    for x, y in ((center, center), tip):
        _disk(canvas, x, y, width / 2, RED)
    _disk(canvas, center, center, FINE * 5, INK)
    torque = float(action[0]) / 2
    if abs(torque) > 0.02:
        _arc(canvas, center, radius=FINE * SIZE * 0.16, turn=150 * torque)


def _arc(canvas: ImageDraw.ImageDraw, center: float, radius: float, turn: float) -> None:
    """An arrow from the right, over so many degrees, counterclockwise if positive."""
    box = [center - radius, center - radius, center + radius, center + radius]
    canvas.arc(box, *sorted((0.0, -turn)), fill=INK, width=FINE * 3)
    angle = -math.radians(turn)
    x, y = center + radius * math.cos(angle), center + radius * math.sin(angle)
    forward = angle - math.copysign(math.pi / 2, turn)
    corners = [(x + FINE * 10 * math.cos(forward + a), y + FINE * 10 * math.sin(forward + a)) for a in (0, 2.3, -2.3)]
    canvas.polygon(corners, fill=INK)


def mountain_car(canvas: ImageDraw.ImageDraw, obs: np.ndarray, action: np.ndarray) -> None:
    """The car in its valley, the flag, and the force as an arrow; obs: position in -1.2 ... 0.6, velocity."""

    def place(position: float) -> tuple[float, float]:
        height = 0.45 * math.sin(3 * position) + 0.55
        return FINE * SIZE * (position + 1.2) / 1.8, FINE * SIZE * (0.92 - 0.62 * height)

    canvas.line([place(x) for x in np.linspace(-1.2, 0.6, 120)], fill=INK, width=FINE * 2)
    x, y = place(0.45)
    canvas.line([x, y, x, y - FINE * 50], fill=INK, width=FINE * 2)
    canvas.polygon([(x, y - FINE * 50), (x, y - FINE * 34), (x + FINE * 24, y - FINE * 42)], fill=(220, 180, 0))
    x, y = place(float(obs[0]))
    y -= FINE * 12
    _disk(canvas, x, y, FINE * 12, RED)
    end = x + FINE * 50 * float(action[0])
    canvas.line([x, y, end, y], fill=INK, width=FINE * 3)
    back = math.copysign(FINE * 8, action[0])
    canvas.polygon([(end + back, y), (end, y - FINE * 6), (end, y + FINE * 6)], fill=INK)


def _disk(canvas: ImageDraw.ImageDraw, x: float, y: float, radius: float, color: tuple[int, int, int]) -> None:
    canvas.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)


# By name of the environment, and the seconds that a frame lasts.
DRAWINGS: dict[str, tuple[Draw, float]] = {
    "gymnax/Pendulum-v1": (pendulum, 0.05),
    "gymnax/MountainCarContinuous-v0": (mountain_car, 1 / 30),
}
