"""Episodes shown in a notebook."""

import base64
import html
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rpo_jax.algorithm.acting import policy_of_run
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Scalar
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.errors import SettingsError
from rpo_jax.settings.grid import check_seeds
from rpo_jax.visual.play import play, render_off_screen, suffix_of
from rpo_jax.visual.player import Player

STILLS, STILL_WIDTH = 6, 160  # pictures of the strip, and the width of each in pixels
PAGE_HEIGHT = 480  # pixels


class Replay(NamedTuple):
    """An episode that a notebook shows when it is the last value of a cell.

    It is a movie, or Brax's interactive page; where neither can be shown, a strip of pictures, or the return.

    Attributes:
        task: suite and id of the environment.
        episode_return: undiscounted return of the episode.
        content: the movie as a GIF, or the page as HTML.
    """

    task: str
    episode_return: float
    content: bytes

    def save(self, path: Path | str) -> None:
        """Writes the movie or the page to the file `path`, which should end in .gif, or .html for Brax."""
        Path(path).write_bytes(self.content)

    def stills(self) -> Image.Image:
        """Returns pictures of the movie from its begin to its end, side by side."""
        movie: Any = Image.open(io.BytesIO(self.content))
        height = round(STILL_WIDTH * movie.height / movie.width)
        strip = Image.new("RGB", (STILLS * STILL_WIDTH, height))
        for index, frame in enumerate(np.linspace(0, movie.n_frames - 1, STILLS).astype(int)):
            movie.seek(int(frame))
            strip.paste(movie.convert("RGB").resize((STILL_WIDTH, height)), (index * STILL_WIDTH, 0))
        return strip

    def __repr__(self) -> str:
        return f"{self.task}: return {self.episode_return:,.1f}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """What Jupyter asks for: what can be shown, by its type."""
        if not self.content.startswith(b"GIF"):
            page = html.escape(self.content.decode(), quote=True)
            frame = f'<iframe srcdoc="{page}" width="100%" height="{PAGE_HEIGHT}" style="border: 0"></iframe>'
            return {"text/html": frame, "text/plain": repr(self)}
        still = io.BytesIO()
        self.stills().save(still, "PNG", optimize=True)
        image = f'<img alt="{html.escape(repr(self))}" src="data:image/gif;base64,{_encoded(self.content)}"/>'
        return {"text/html": image, "image/png": _encoded(still.getvalue()), "text/plain": repr(self)}


def show(
    agent: Agent,
    state: TrainingState | Policy,
    *,
    run: tuple[int, ...] = (),
    seed: int = 0,
    max_steps: int = 1000,
    sample: bool = False,
    observation_clip: Scalar = 10.0,
    draw: Callable[[np.ndarray], Image.Image] | None = None,
) -> Replay:
    """Plays an episode with a trained policy, to be seen in a notebook.

    A task is rendered by its suite, as by `rpo-jax play`; one that none renders is a bar chart of its observations.

    Args:
        agent: static part of the run, from `make_agent`.
        state: training state or policy, of one run or, with leaves [H, S, ...], of several.
        run: indices of the run in the leading axes of `state`, such as (0, 3).
        seed: seed of the episode, 0 ... 2^32 - 1.
        max_steps: largest number of steps of the episode, 1 or more.
        sample: whether to sample actions from the policy instead of taking its mean action.
        observation_clip: bound of normalised observations, as in training.
        draw: function that draws an observation [O] as a picture, for a task of your own.

    Returns:
        The episode, which a notebook shows if it is the last value of a cell: a movie of at most some hundred KB, or
        Brax's interactive page. `save(path)` writes it to a file.

    Raises:
        SettingsError: if `state` with `run` is not that of one run of this agent, the seed or the number of steps is
            out of range, or the task cannot be rendered here.
        SimulatorError: if an environment on the host fails.
    """
    check_seeds(seed, 1)
    if max_steps < 1:
        raise SettingsError(f"max_steps={max_steps} is out of range: it must be 1 or more")
    one = policy_of_run(agent, state, run)
    render_off_screen()
    player = Player(agent, one, float(observation_clip), seed, max_steps, sample, draw)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"episode{'.gif' if draw else suffix_of(player.task)}"
        total = play(player, path)
        return Replay(player.task, total, path.read_bytes())


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
