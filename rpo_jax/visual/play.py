"""One episode of a trained policy, to look at: a moving picture, or Brax's page that can be turned about."""

import contextlib
import importlib
import os
import sys
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from rpo_jax.algorithm.evaluation import Trajectory, make_actor, record
from rpo_jax.compiling.jit import jit
from rpo_jax.envs.protocol import whole
from rpo_jax.envs.quiet import quiet
from rpo_jax.envs.suites import brax, gymnasium, playground
from rpo_jax.errors import SettingsError, SimulatorError
from rpo_jax.files import make_folder, written_whole
from rpo_jax.runs.choose import clip_of, policy_of
from rpo_jax.runs.evaluate import evaluation_key
from rpo_jax.runs.results import LoadedRun
from rpo_jax.visual.drawings import DRAWINGS, SIZE, picture
from rpo_jax.visual.movies import Frame, Movie, check_suffix, write_movie

FRAMES_PER_SECOND = 30  # where a suite does not say
RENDERED = 50  # states that MuJoCo renders at a time


class Player(NamedTuple):
    """A policy and an episode for it.

    Attributes:
        run: what was loaded from its folder.
        place: which of its settings and seeds.
        seed: of the episode.
        max_steps: of the episode.
        sample: whether it acts with a sample rather than the mean action.
    """

    run: LoadedRun
    place: tuple[int, int]
    seed: int
    max_steps: int
    sample: bool

    def episode(self) -> Trajectory:
        """Of an environment in JAX, up to its end; leaves [T, ...]."""
        policy, clip = policy_of(self.run, self.place), clip_of(self.run, self.place)
        key = evaluation_key(self.seed)
        played = record(self.run.agent, policy, key, self.max_steps, sample=self.sample, observation_clip=clip)
        ended = np.asarray(played.ended)
        count = int(np.argmax(ended)) + 1 if ended.any() else self.max_steps
        return jax.tree.map(lambda x: x[:count], played)

    def scaled(self, env_action: jax.typing.ArrayLike) -> np.ndarray:
        """Actions [..., A] of the environment, from -1 at the lower bounds to 1 at the upper ones, or by tanh."""
        low, high, action = self.run.agent.env.low, self.run.agent.env.high, np.asarray(env_action)
        bounded = np.isfinite(low) & np.isfinite(high)
        low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        return np.where(bounded, np.clip(2 * (action - low) / (high - low) - 1, -1, 1), np.tanh(action))


def play(player: Player, path: Path, on_frame: Callable[[int], None] = lambda count: None) -> float:
    """Plays an episode into a file, and gives its return.

    Args:
        player: the policy and the episode.
        path: the file; .html for Brax, .gif or .mp4 for all others.
        on_frame: is told how many frames there are so far.

    Raises:
        SettingsError: if it cannot be drawn, or not into that file.
        SimulatorError: if an environment on the host fails.
    """
    name = player.run.spec.env
    if path.is_dir():
        raise SettingsError(f"{path} is a folder, and a file is needed")
    if name.startswith("brax/"):
        return _write_page(player, path)
    film = next((film for start, film in FILMS.items() if name.startswith(start)), None)
    if film is None:
        raise SettingsError(f"{name} cannot be drawn; what can: {', '.join(['brax/*', *map(_pattern, FILMS)])}")
    check_suffix(path)
    make_folder(path.parent)
    movie = film(player)
    return write_movie(movie._replace(frames=_counted(movie.frames, on_frame)), path)


def _pattern(start: str) -> str:
    return f"{start}*" if start.endswith("/") else start


def _counted(frames: Iterator[Frame], on_frame: Callable[[int], None]) -> Iterator[Frame]:
    for count, frame in enumerate(frames, 1):
        yield frame
        on_frame(count)


def suffix_of(env: str) -> str:
    """Of the file that an environment is played into if nothing else is asked for."""
    return ".html" if env.startswith("brax/") else ".gif"


def show(path: Path) -> None:
    """Opens a file in a browser, where there is one with a screen."""
    if has_screen():
        webbrowser.open(path.resolve().as_uri())


def has_screen() -> bool:
    """Whether there is something to open a window on."""
    return sys.platform != "linux" or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _drawn(player: Player) -> Movie:
    """Tasks that are drawn from their observations."""
    draw, seconds = DRAWINGS[player.run.spec.env]
    episode = player.episode()
    seen = np.concatenate([episode.obs, episode.final_obs[-1:]])  # the last was not acted on
    return Movie(_frames((picture(draw, obs) for obs in seen), player, episode), seconds)


def _frames(pictures: Iterator[Image.Image], player: Player, episode: Trajectory) -> Iterator[Frame]:
    """Of an episode's T + 1 pictures."""
    actions = player.scaled(episode.env_action)
    actions = np.concatenate([actions, np.zeros_like(actions[:1])])
    totals = np.concatenate([[0.0], np.cumsum(episode.reward, dtype=float)])
    for shown, action, total in zip(pictures, actions, totals, strict=True):
        yield Frame(shown, action, float(total))


def _by_mujoco(player: Player) -> Movie:
    """Playground's tasks, by MuJoCo's renderer."""
    env = playground.load(player.run.spec.env.partition("/")[2])
    episode = player.episode()
    states = [state[0] for state in _states(episode)]

    def pictures() -> Iterator[Image.Image]:
        pixels = None
        for begin in range(0, len(states), RENDERED):
            try:
                with quiet():
                    rendered = env.render(states[begin : begin + RENDERED], height=SIZE, width=SIZE)
            except Exception as error:  # which graphics libraries are missing, each says in its own way
                raise SettingsError(
                    f"MuJoCo cannot render here: {' '.join(str(error).split())}; MUJOCO_GL=egl or osmesa may help"
                ) from None
            for pixels in rendered:
                yield Image.fromarray(pixels)
        yield Image.fromarray(np.asarray(pixels))  # the state of the end is gone: the next episode has begun

    return Movie(_frames(pictures(), player, episode), env.dt)


def _rendered(player: Player) -> Movie:
    """What Gymnasium renders; EnvPool's tasks by those of the same name there."""
    suite, _, env_id = player.run.spec.env.partition("/")
    try:
        with quiet():
            env = gymnasium.make_renderable(env_id)
    except SettingsError as error:
        if suite == "gymnasium":
            raise
        raise SettingsError(
            f"{suite}/{env_id} cannot be drawn: EnvPool draws nothing, and Gymnasium has no {env_id} ({error})"
        ) from None
    dt = getattr(env.unwrapped, "dt", None)
    fps = env.metadata.get("render_fps") or FRAMES_PER_SECOND
    return Movie(_stepped(env, player), float(dt) if isinstance(dt, float) and dt > 0 else 1 / fps)


def _stepped(env: Any, player: Player) -> Iterator[Frame]:
    """An episode of an environment of Gymnasium."""
    policy, clip = policy_of(player.run, player.place), clip_of(player.run, player.place)
    actor = make_actor(player.run.agent, policy, evaluation_key(player.seed), player.sample, clip)
    act = jit(lambda obs, step: actor(obs[None], step)[0])
    total = 0.0
    with contextlib.closing(env), _blamed(player):
        with quiet():
            obs, _ = env.reset(seed=player.seed)
            _shown(env)
        for step in range(player.max_steps):
            action = np.asarray(act(jnp.asarray(obs, jnp.float32), step), env.action_space.dtype)
            yield Frame(_shown(env), player.scaled(action), total)
            obs, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        yield Frame(_shown(env), np.zeros(player.run.agent.env.action_size), total)


def _shown(env: Any) -> Image.Image:
    try:
        return Image.fromarray(env.render())
    except Exception as error:  # renderers fail in their own ways
        raise SettingsError(f"{env.spec.id} cannot be rendered here: {' '.join(str(error).split())}") from None


@contextlib.contextmanager
def _blamed(player: Player) -> Iterator[None]:
    try:
        yield
    except SettingsError:
        raise
    except Exception as error:  # simulators fail in their own ways
        raise SimulatorError(f"{player.run.spec.env}: {type(error).__name__}: {error}") from error


def _write_page(player: Player, path: Path) -> float:
    """Brax's own page, with the return above."""
    if path.suffix.lower() != ".html":
        raise SettingsError(f"Brax is shown as a page, and {path.name} is none: let --out end in .html")
    make_folder(path.parent)
    html = importlib.import_module("brax.io.html")
    with quiet():
        env = brax.load(player.run.spec.env.partition("/")[2], player.run.spec.backend)
    episode = player.episode()
    total = float(episode.reward.sum())
    page = html.render(env.sys.tree_replace({"opt.timestep": env.dt}), [state[0] for state in _states(episode)])
    with written_whole(path) as part:
        part.write_text(page.replace("<body>", f"<body>\n<p>{player.run.spec.env}: return {total:,.1f}</p>", 1))
    return total


def _states(episode: Trajectory) -> Iterator[Any]:
    """The simulator's states, one after another."""
    for step in range(len(episode.reward)):
        state = whole(jax.tree.map(lambda x, step=step: x[step], episode.env_state), 1)
        yield jax.tree.map(lambda x: x[..., 0], state)


FILMS: dict[str, Callable[[Player], Movie]] = {
    **dict.fromkeys(DRAWINGS, _drawn),
    "playground/": _by_mujoco,
    "gymnasium/": _rendered,
    "envpool/": _rendered,
}
