"""Shows an episode of a trained policy: as a movie, or as Brax's interactive page."""

import importlib
import os
import sys
import webbrowser
from collections.abc import Callable, Iterator
from ctypes.util import find_library
from pathlib import Path

from rpo_jax.envs.quiet import quiet
from rpo_jax.envs.suites import brax
from rpo_jax.errors import SettingsError
from rpo_jax.files import atomic_write, make_folder
from rpo_jax.visual.movies import Frame, check_suffix, write_movie
from rpo_jax.visual.player import Player, simulations
from rpo_jax.visual.renderers import draw_observations, renderer_of


def play(player: Player, path: Path, on_frame: Callable[[int], None] = lambda count: None) -> float:
    """Plays an episode and writes it to a file.

    Args:
        player: the policy and the episode.
        path: file to create or replace: .html for Brax, .gif or .mp4 for other suites.
        on_frame: called with the number of frames so far after each frame.

    Returns:
        The return of the episode.

    Raises:
        SettingsError: if the environment cannot be drawn, or the file cannot be written.
        SimulatorError: if an environment on the host fails.
    """
    if path.is_dir():
        raise SettingsError(f"{path} is a folder, and a file is needed")
    if player.task.startswith("brax/") and not player.draw:
        return _write_page(player, path)
    check_suffix(path)
    make_folder(path.parent)
    movie = draw_observations(player) if player.draw else renderer_of(player.task)(player)
    return write_movie(movie._replace(frames=_count_frames(movie.frames, on_frame)), path)


def _count_frames(frames: Iterator[Frame], on_frame: Callable[[int], None]) -> Iterator[Frame]:
    for count, frame in enumerate(frames, 1):
        yield frame
        on_frame(count)


def render_off_screen() -> None:
    """Lets rendering libraries, which read this when they are imported, open no windows and draw no progress bars."""
    for name in ("SDL_AUDIODRIVER", "SDL_VIDEODRIVER"):
        os.environ.setdefault(name, "dummy")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if not has_screen() and find_library("EGL"):
        os.environ.setdefault("MUJOCO_GL", "egl")


def suffix_of(env: str) -> str:
    """Returns the default suffix of the file in which an episode is shown.

    Args:
        env: name of the environment.
    """
    return ".html" if env.startswith("brax/") else ".gif"


def show(path: Path) -> None:
    """Opens a file in the browser, if there is a screen.

    Args:
        path: the file.
    """
    if has_screen():
        webbrowser.open(path.resolve().as_uri())


def has_screen() -> bool:
    """Returns whether a window can be opened."""
    return sys.platform != "linux" or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _write_page(player: Player, path: Path) -> float:
    """Writes Brax's interactive page, with the return at its top; returns it."""
    if path.suffix.lower() != ".html":
        raise SettingsError(f"Brax is shown as a page, not as {path.name}: let --out end in .html")
    make_folder(path.parent)
    html = importlib.import_module("brax.io.html")
    with quiet():
        env = brax.load(player.task.partition("/")[2], **player.agent.env.options)
    episode = player.episode()
    total = float(episode.reward.sum())
    page = html.render(env.sys.tree_replace({"opt.timestep": env.dt}), [*simulations(episode)])
    with atomic_write(path) as part:
        part.write_text(page.replace("<body>", f"<body>\n<p>{player.task}: return {total:,.1f}</p>", 1))
    return total
