"""Shows an episode of a trained policy: as a movie, or as Brax's interactive page."""

import contextlib
import importlib
import os
import sys
import webbrowser
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from rpo_jax.algorithm.evaluation import Trajectory, make_actor, record
from rpo_jax.compiling.jit import jit
from rpo_jax.envs.batching import restore_empty_arrays
from rpo_jax.envs.quiet import quiet
from rpo_jax.envs.suites import brax, envpool, gymnasium, playground
from rpo_jax.envs.suites.single import as_actions
from rpo_jax.errors import SettingsError, SimulatorError, described, one_line, warn_once
from rpo_jax.execution import waiting
from rpo_jax.files import atomic_write, make_folder
from rpo_jax.runs.choose import clip_of, policy_of
from rpo_jax.runs.evaluate import evaluation_key
from rpo_jax.runs.results import LoadedRun
from rpo_jax.typing import PyTree
from rpo_jax.visual.drawings import DRAWINGS, SIZE, draw_image, numbers
from rpo_jax.visual.movies import Frame, Movie, check_suffix, write_movie

if TYPE_CHECKING:
    from gymnasium import Env

    Renderable = Env | envpool.Rendered

FRAMES_PER_SECOND = 30  # if the environment does not define them
RENDERED = 50  # states that MuJoCo renders at a time


class Player(NamedTuple):
    """A policy and the episode that it plays.

    Attributes:
        run: the run, loaded from its folder.
        place: indices of the setting and the seed of the policy.
        seed: seed of the episode.
        max_steps: largest number of steps of the episode.
        sample: whether to act with a sample of the policy instead of its mean action.
    """

    run: LoadedRun
    place: tuple[int, int]
    seed: int
    max_steps: int
    sample: bool

    def episode(self) -> Trajectory:
        """Plays the episode; returns its T steps, leaves [T, ...].

        Raises:
            SimulatorError: if an environment on the host fails.
        """
        agent, policy, clip = self.run.agent, policy_of(self.run, self.place), clip_of(self.run, self.place)
        parts = agent, policy, evaluation_key(self.seed), self.max_steps
        play = partial(record, *parts, sample=self.sample, observation_clip=clip)
        played = waiting.call_and_check(agent.env, play)
        ended = np.asarray(played.ended)
        count = int(np.argmax(ended)) + 1 if ended.any() else self.max_steps
        return jax.tree.map(lambda x: x[:count], played)

    def scaled(self, env_action: jax.typing.ArrayLike) -> np.ndarray:
        """Scales actions to [-1, 1]: linearly between finite bounds that differ, by tanh otherwise.

        Args:
            env_action: actions of the environment [..., A].

        Returns:
            Scaled actions [..., A].
        """
        low, high, action = (
            np.asarray(x, float) for x in (self.run.agent.env.low, self.run.agent.env.high, env_action)
        )
        bounded = np.isfinite(low) & np.isfinite(high) & (low < high)
        low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
        return np.where(bounded, np.clip(2 * (action - low) / (high - low) - 1, -1, 1), np.tanh(action))


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
    name = player.run.spec.env
    if path.is_dir():
        raise SettingsError(f"{path} is a folder, and a file is needed")
    if name.startswith("brax/"):
        return _write_page(player, path)
    render = next((render for start, render in RENDERERS.items() if name.startswith(start)), _draw_observations)
    check_suffix(path)
    make_folder(path.parent)
    movie = render(player)
    return write_movie(movie._replace(frames=_count_frames(movie.frames, on_frame)), path)


def _count_frames(frames: Iterator[Frame], on_frame: Callable[[int], None]) -> Iterator[Frame]:
    for count, frame in enumerate(frames, 1):
        yield frame
        on_frame(count)


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


def _draw_observations(player: Player) -> Movie:
    """Draws tasks from their observations: as bars if there is no drawing of the task."""
    episode = player.episode()
    seen = np.concatenate([episode.obs, episode.final_obs[-1:]])  # the last observation was not acted on
    bars = partial(numbers, largest=np.abs(seen).max(0))
    draw, seconds = DRAWINGS.get(player.run.spec.env, (bars, 1 / FRAMES_PER_SECOND))
    return Movie(_frames((draw_image(draw, obs) for obs in seen), player, episode), seconds)


def _frames(pictures: Iterator[Image.Image], player: Player, episode: Trajectory) -> Iterator[Frame]:
    """Makes the frames of an episode from its T + 1 images."""
    actions = player.scaled(episode.env_action)
    actions = np.concatenate([actions, np.zeros_like(actions[:1])])
    totals = np.concatenate([[0.0], np.cumsum(episode.reward, dtype=float)])
    for image, action, total in zip(pictures, actions, totals, strict=True):
        yield Frame(image, action, float(total))


def _render_with_mujoco(player: Player) -> Movie:
    """Renders tasks of Playground with MuJoCo."""
    env = playground.load(player.run.spec.env.partition("/")[2])
    episode = player.episode()
    states = [*_simulations(episode)]

    def pictures() -> Iterator[Image.Image]:
        pixels = None
        for begin in range(0, len(states), RENDERED):
            try:
                with quiet():
                    rendered = env.render(states[begin : begin + RENDERED], height=SIZE, width=SIZE)
            except Exception as error:  # missing graphics libraries raise all kinds of errors
                raise SettingsError(
                    f"MuJoCo cannot render here: {one_line(error, 300)}; MUJOCO_GL=egl or osmesa may help"
                ) from None
            for pixels in rendered:
                yield Image.fromarray(pixels)
        yield Image.fromarray(np.asarray(pixels))  # repeated, as the state after the last step has been reset

    return Movie(_frames(pictures(), player, episode), env.dt)


def _render_with_gymnasium(player: Player) -> Movie:
    """Plays and renders an environment of Gymnasium."""
    with quiet():
        env = gymnasium.make_renderable(player.run.spec.env.partition("/")[2], **player.run.spec.env_args)
    dt = getattr(env.unwrapped, "dt", None)
    fps = env.metadata.get("render_fps") or FRAMES_PER_SECOND
    return Movie(_play_renderable(env, player), float(dt) if isinstance(dt, float) and dt > 0 else 1 / fps)


def _render_with_envpool(player: Player) -> Movie:
    """Renders Gymnasium's environment of the same id; where that fails EnvPool's own, or draws its observations."""
    reasons = []
    for suite, render in (("Gymnasium", _render_with_gymnasium), ("EnvPool", _render_with_envpool_itself)):
        try:
            return _begun(render(player))
        except (SettingsError, SimulatorError) as error:
            reasons.append(f"{suite}: {one_line(error, 200)}")
    warn_once(f"{player.run.spec.env} is drawn as bars of its observations; {'; '.join(reasons)}")
    return _draw_observations(player)


def _render_with_envpool_itself(player: Player) -> Movie:
    env = envpool.Rendered(player.run.spec.env.partition("/")[2])
    return Movie(_play_renderable(env, player), 1 / FRAMES_PER_SECOND)


def _begun(movie: Movie) -> Movie:
    """Renders the first frame of a movie, so that what cannot be rendered is known at once."""
    first = next(movie.frames)
    return movie._replace(frames=chain([first], movie.frames))


def _play_renderable(env: "Renderable", player: Player) -> Iterator[Frame]:
    """Plays an episode in a single environment that renders images."""
    policy, clip = policy_of(player.run, player.place), clip_of(player.run, player.place)
    actor = make_actor(player.run.agent, policy, evaluation_key(player.seed), player.sample, clip)
    act = jit(lambda obs, step: actor(obs[None], step)[0])
    total = 0.0
    with contextlib.closing(env), _attribute_errors(player):
        with quiet():
            obs, _ = env.reset(seed=player.seed)
            _render_image(env, player)
        for step in range(player.max_steps):
            action = as_actions(np.asarray(act(jnp.asarray(obs, jnp.float32), step)), env.action_space)
            yield Frame(_render_image(env, player), player.scaled(action), total)
            obs, reward, terminated, truncated, _ = env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        yield Frame(_render_image(env, player), np.zeros(player.run.agent.env.action_size), total)


def _render_image(env: "Renderable", player: Player) -> Image.Image:
    try:
        return Image.fromarray(cast(np.ndarray, env.render()))
    except Exception as error:  # renderers raise all kinds of errors
        raise SettingsError(f"{player.run.spec.env} cannot be rendered here: {one_line(error, 300)}") from None


@contextlib.contextmanager
def _attribute_errors(player: Player) -> Iterator[None]:
    """Turns errors of the simulator into a `SimulatorError` that names the environment."""
    try:
        yield
    except (SettingsError, SimulatorError):
        raise
    except Exception as error:  # simulators raise all kinds of errors
        raise SimulatorError(f"{player.run.spec.env}: {described(error)}") from error


def _write_page(player: Player, path: Path) -> float:
    """Writes Brax's interactive page, with the return at its top; returns it."""
    if path.suffix.lower() != ".html":
        raise SettingsError(f"Brax is shown as a page, not as {path.name}: let --out end in .html")
    make_folder(path.parent)
    html = importlib.import_module("brax.io.html")
    with quiet():
        spec = player.run.spec
        env = brax.load(spec.env.partition("/")[2], spec.backend, **spec.env_args)
    episode = player.episode()
    total = float(episode.reward.sum())
    page = html.render(env.sys.tree_replace({"opt.timestep": env.dt}), [*_simulations(episode)])
    with atomic_write(path) as part:
        part.write_text(page.replace("<body>", f"<body>\n<p>{player.run.spec.env}: return {total:,.1f}</p>", 1))
    return total


def _simulations(episode: Trajectory) -> Iterator[PyTree]:
    """Yields the state of the simulator before each step, with which the states of Brax and Playground begin."""
    for step in range(len(episode.reward)):
        state = restore_empty_arrays(jax.tree.map(lambda x, step=step: x[step], episode.env_state), 1)
        simulation, *_ = jax.tree.map(lambda x: x[..., 0], state)
        yield simulation


RENDERERS: dict[str, Callable[[Player], Movie]] = {
    **dict.fromkeys(DRAWINGS, _draw_observations),
    "playground/": _render_with_mujoco,
    "gymnasium/": _render_with_gymnasium,
    "envpool/": _render_with_envpool,
}
