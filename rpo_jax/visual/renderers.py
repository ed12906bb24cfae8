"""Renderers of episodes by suite: Gymnasium, EnvPool, MuJoCo, and drawings of observations."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, cast

import jax.numpy as jnp
import numpy as np
from PIL import Image

from rpo_jax.algorithm.acting import make_actor
from rpo_jax.algorithm.evaluation import Trajectory
from rpo_jax.compiling.jit import jit
from rpo_jax.envs.quiet import quiet
from rpo_jax.envs.suites import gymnasium, playground
from rpo_jax.envs.suites.single import as_actions
from rpo_jax.errors import SettingsError, SimulatorError, described, one_line, warn_once
from rpo_jax.runs.evaluate import evaluation_key
from rpo_jax.visual.drawings import DRAWINGS, SIZE, draw_image, numbers
from rpo_jax.visual.envpool_process import Rendered
from rpo_jax.visual.movies import Frame, Movie
from rpo_jax.visual.player import Player, simulations

if TYPE_CHECKING:
    from gymnasium import Env

    Renderable = Env | Rendered

FRAMES_PER_SECOND = 30  # if the environment does not define them
RENDERED = 50  # states that MuJoCo renders at a time


def renderer_of(env: str) -> Callable[[Player], Movie]:
    """Returns the function that renders an episode.

    Args:
        env: name of the environment.
    """
    return next((render for start, render in RENDERERS.items() if env.startswith(start)), draw_observations)


def draw_observations(player: Player) -> Movie:
    """Returns a movie of what `player` plays, drawn from observations: as bars if there is no drawing of the task."""
    episode = player.episode()
    seen = np.concatenate([episode.obs, episode.final_obs[-1:]])  # the last observation was not acted on
    bars = partial(numbers, largest=np.abs(seen).max(0))
    drawing, seconds = DRAWINGS.get(player.task, (bars, 1 / FRAMES_PER_SECOND))
    draw = player.draw or partial(draw_image, drawing)
    return Movie(_frames(map(draw, seen), player, episode), seconds)


def _frames(pictures: Iterator[Image.Image], player: Player, episode: Trajectory) -> Iterator[Frame]:
    """Makes the frames of an episode from its T + 1 images."""
    actions = player.scaled(episode.env_action)
    actions = np.concatenate([actions, np.zeros_like(actions[:1])])
    totals = np.concatenate([[0.0], np.cumsum(episode.reward, dtype=float)])
    for image, action, total in zip(pictures, actions, totals, strict=True):
        yield Frame(image, action, float(total))


def _render_with_mujoco(player: Player) -> Movie:
    """Renders tasks of Playground with MuJoCo."""
    env = playground.load(player.task.partition("/")[2])
    episode = player.episode()
    states = [*simulations(episode)]

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
        env = gymnasium.make_renderable(player.task.partition("/")[2], **player.agent.env.options)
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
    warn_once(f"{player.task} is drawn as bars of its observations; {'; '.join(reasons)}")
    return draw_observations(player)


def _render_with_envpool_itself(player: Player) -> Movie:
    env = Rendered(player.task.partition("/")[2])
    return Movie(_play_renderable(env, player), 1 / FRAMES_PER_SECOND)


def _begun(movie: Movie) -> Movie:
    """Renders the first frame of a movie, so that what cannot be rendered is known at once."""
    first = next(movie.frames)
    return movie._replace(frames=chain([first], movie.frames))


def _play_renderable(env: "Renderable", player: Player) -> Iterator[Frame]:
    """Plays an episode in a single environment that renders images."""
    actor = make_actor(player.agent, player.policy, evaluation_key(player.seed), player.sample, player.clip)
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
        yield Frame(_render_image(env, player), np.zeros(player.agent.env.action_size), total)


def _render_image(env: "Renderable", player: Player) -> Image.Image:
    try:
        return Image.fromarray(cast(np.ndarray, env.render()))
    except Exception as error:  # renderers raise all kinds of errors
        raise SettingsError(f"{player.task} cannot be rendered here: {one_line(error, 300)}") from None


@contextlib.contextmanager
def _attribute_errors(player: Player) -> Iterator[None]:
    """Turns errors of the simulator into a `SimulatorError` that names the environment."""
    try:
        yield
    except (SettingsError, SimulatorError):
        raise
    except Exception as error:  # simulators raise all kinds of errors
        raise SimulatorError(f"{player.task}: {described(error)}") from error


RENDERERS: dict[str, Callable[[Player], Movie]] = {
    **dict.fromkeys(DRAWINGS, draw_observations),
    "playground/": _render_with_mujoco,
    "gymnasium/": _render_with_gymnasium,
    "envpool/": _render_with_envpool,
}
