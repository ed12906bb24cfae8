"""Movies of an episode as GIF or MP4, captioned with the return so far and the actions."""

import importlib
import itertools
import math
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rpo_jax.errors import SettingsError
from rpo_jax.files import atomic_write
from rpo_jax.visual.drawings import INK, RED, WHITE

SUFFIXES = (".gif", ".mp4")
SHORTEST = 0.02  # seconds of a frame; browsers slow down faster GIFs
HELD = 1.0  # seconds that the last frame is shown
NARROWEST = 300  # width of a frame in pixels
STRIP, TEXT = 32, 200  # height of the caption, and width of its text, in pixels


class Frame(NamedTuple):
    """A frame of a movie: an environment before a step.

    Attributes:
        picture: image of the environment.
        action: action of the step, scaled to [-1, 1] [A]; zeros after the last step.
        total: undiscounted return so far.
    """

    picture: Image.Image
    action: np.ndarray
    total: float


class Movie(NamedTuple):
    """The frames of an episode.

    Attributes:
        frames: one frame more than there are steps.
        seconds: duration of a step in seconds.
    """

    frames: Iterator[Frame]
    seconds: float


def check_suffix(path: Path) -> None:
    """Checks that a movie can be written to a file of this name.

    Args:
        path: the file.

    Raises:
        SettingsError: if the suffix is not .gif or .mp4, or the encoder for .mp4 is not installed.
    """
    suffix = path.suffix.lower()
    if suffix == ".mp4" and not find_spec("imageio_ffmpeg"):
        raise SettingsError("an .mp4 needs an encoder: pip install 'rpo_jax[video]'")
    if suffix not in SUFFIXES:
        raise SettingsError(f"{path.name} is neither a .gif nor an .mp4")


def write_movie(movie: Movie, path: Path) -> float:
    """Writes a movie that plays in real time.

    Args:
        movie: the frames.
        path: file to create or replace, .gif or .mp4.

    Returns:
        The return of the episode.
    """
    total = 0.0
    every = math.ceil(SHORTEST / movie.seconds - 1e-6)

    def images() -> Iterator[Image.Image]:
        nonlocal total
        image = None
        for step, frame in enumerate(movie.frames):
            total = frame.total
            image = add_caption(frame)
            if step % every == 0:
                yield image
        if image is not None:
            yield from itertools.repeat(image, round(HELD / (every * movie.seconds)))

    with atomic_write(path) as part:
        (_write_gif if path.suffix.lower() == ".gif" else _write_mp4)(images(), every * movie.seconds, part)
    return total


def add_caption(frame: Frame) -> Image.Image:
    """Draws the return, and a bar for each action, below the image of a frame.

    Args:
        frame: the frame.

    Returns:
        The captioned image, of even width and height.
    """
    factor = math.ceil(NARROWEST / frame.picture.width)
    width, height = (factor * size for size in frame.picture.size)
    image = Image.new("RGB", (width + width % 2, height + height % 2 + STRIP), WHITE)  # even, for video
    image.paste(frame.picture.resize((width, height), Image.Resampling.NEAREST))
    canvas = ImageDraw.Draw(image)
    canvas.text((10, height + 8), f"return {frame.total:,.1f}", fill=INK, font=ImageFont.load_default(14))
    middle, half = height + STRIP / 2, STRIP / 2 - 3
    step = min(16.0, (width - TEXT - 10) / len(frame.action))
    left = width - 10 - step * len(frame.action)
    canvas.text((left - 8, height + 8), "actions", fill=INK, font=ImageFont.load_default(14), anchor="ra")
    canvas.line([left, middle, width - 10, middle], fill=INK)
    for index, x in enumerate(frame.action):
        top, bottom = sorted((middle, middle - half * float(x)))
        canvas.rectangle([left + step * index, top, left + step * (index + 0.75), bottom], fill=RED)
    return image


def _write_gif(images: Iterator[Image.Image], seconds: float, path: Path) -> None:
    """Writes a GIF. Durations are multiples of 0.01 s, rounded so that their sum is right."""
    first, *others = (image.quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for image in images)
    ends = np.round(100 * seconds * np.arange(len(others) + 2)).astype(int)
    durations = (10 * np.diff(ends)).tolist()
    first.save(path, "GIF", save_all=True, append_images=others, duration=durations, loop=0)


def _write_mp4(images: Iterator[Image.Image], seconds: float, path: Path) -> None:
    first = next(images)
    writer = importlib.import_module("imageio_ffmpeg").write_frames(
        str(path), first.size, fps=1 / seconds, macro_block_size=2, output_params=["-f", "mp4"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # JAX warns of forks, but the encoder does not use JAX
        writer.send(None)
    for image in itertools.chain([first], images):
        writer.send(image.tobytes())
    writer.close()
