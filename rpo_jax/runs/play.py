"""One episode of a trained policy, to look at: a moving picture, or Brax's page that can be turned about."""

import importlib
import os
import sys
import warnings
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rpo_jax.envs import brax_suite, gymnasium_suite, playground_suite
from rpo_jax.envs.protocol import whole
from rpo_jax.envs.quiet import quiet
from rpo_jax.errors import SettingsError
from rpo_jax.evaluation import Trajectory, make_actor, record
from rpo_jax.runs.chosen import clip_of, policy_of
from rpo_jax.runs.drawings import DRAWINGS, INK, SIZE, frame
from rpo_jax.runs.folder import LoadedRun, written_whole
from rpo_jax.runs.replay import evaluation_key

FRAMES_PER_SECOND = 30  # where a suite does not say


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


def play(player: Player, path: Path) -> float:
    """Plays an episode into a file, and gives its return.

    Args:
        player: the policy and the episode.
        path: the file; .html for Brax, .gif or .mp4 for all others.

    Raises:
        SettingsError: if it cannot be drawn, or not in that format.
    """
    env = player.run.spec.env
    make = next((make for start, make in WAYS.items() if env.startswith(start)), None)
    if make is None:
        raise SettingsError(f"{env} cannot be drawn; what can: {', '.join(f'{start}...' for start in WAYS)}")
    return make(player, path)


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


def _drawn(player: Player, path: Path) -> float:
    """Tasks that are drawn from their observations."""
    draw, seconds = DRAWINGS[player.run.spec.env]
    episode = player.episode()
    totals = np.cumsum(episode.reward)
    steps = zip(np.asarray(episode.obs), np.asarray(episode.env_action), totals, strict=True)
    frames = (frame(draw, obs, action, f"return {total:,.1f}") for obs, action, total in steps)
    _write_movie(frames, seconds, path)
    return float(totals[-1])


def _page(player: Player, path: Path) -> float:
    """Brax's own page."""
    if path.suffix != ".html":
        raise SettingsError(f"Brax is shown as a page, and {path.name} is none: let --out end in .html")
    html = importlib.import_module("brax.io.html")
    with quiet():
        env = brax_suite.single(player.run.spec.env.partition("/")[2], player.run.spec.backend)
    episode = player.episode()
    states = [state[0] for state in _states(episode)]
    with written_whole(path) as part:
        part.write_text(html.render(env.sys.tree_replace({"opt.timestep": env.dt}), states))
    return float(episode.reward.sum())


def _by_mujoco(player: Player, path: Path) -> float:
    """Playground's tasks, by MuJoCo's renderer."""
    env = playground_suite.single(player.run.spec.env.partition("/")[2])
    episode = player.episode()
    states, totals = [state[0] for state in _states(episode)], np.cumsum(episode.reward)
    try:
        pictures = env.render(states, height=SIZE, width=SIZE)
    except Exception as error:  # which graphics libraries are missing, each says in its own way
        raise SettingsError(
            f"MuJoCo cannot render here: {' '.join(str(error).split())}; MUJOCO_GL=egl or osmesa may help"
        ) from None
    frames = (_with_text(picture, f"return {total:,.1f}") for picture, total in zip(pictures, totals, strict=True))
    _write_movie(frames, env.dt, path)
    return float(totals[-1])


def _states(episode: Trajectory) -> Iterator[Any]:
    """The simulator's states, one after another."""
    for step in range(len(episode.reward)):
        state = whole(jax.tree.map(lambda x, step=step: x[step], episode.env_state), 1)
        yield jax.tree.map(lambda x: x[..., 0], state)


def _rendered(player: Player, path: Path) -> float:
    """What Gymnasium renders; EnvPool's tasks by those of the same name there."""
    env_id = player.run.spec.env.partition("/")[2]
    env = gymnasium_suite.rendering(env_id)
    policy, clip = policy_of(player.run, player.place), clip_of(player.run, player.place)
    actor = make_actor(player.run.agent, policy, evaluation_key(player.seed), player.sample, clip)
    act = jax.jit(lambda obs, step: actor(obs[None], step)[0])
    try:
        obs, _ = env.reset(seed=player.seed)
        frames, total = [], 0.0
        for step in range(player.max_steps):
            frames.append(_with_text(env.render(), f"return {total:,.1f}"))
            obs, reward, terminated, truncated, _ = env.step(
                np.asarray(act(jnp.asarray(obs, jnp.float32), step), env.action_space.dtype)
            )
            total += float(reward)
            if terminated or truncated:
                break
    except Exception as error:  # renderers fail in their own ways
        raise SettingsError(f"{env_id} cannot be rendered here: {' '.join(str(error).split())}") from None
    finally:
        env.close()
    _write_movie(iter(frames), 1 / env.metadata.get("render_fps", FRAMES_PER_SECOND), path)
    return total


def _with_text(pixels: Any, text: str) -> Image.Image:
    image = Image.fromarray(np.asarray(pixels))
    ImageDraw.Draw(image).text((10, 8), text, fill=INK, font=ImageFont.load_default(14))
    return image


def _write_movie(frames: Iterator[Image.Image], seconds: float, path: Path) -> None:
    """Frames of so many seconds each, as the suffix says."""
    with written_whole(path) as part:
        if path.suffix == ".gif":
            first, *others = frames
            duration = max(20, round(1000 * seconds))  # browsers slow down what is faster
            first.save(part, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
        elif path.suffix == ".mp4":
            _write_mp4(frames, seconds, part)
        else:
            raise SettingsError(f"{path.name} is neither a .gif nor an .mp4")


def _write_mp4(frames: Iterator[Image.Image], seconds: float, path: Path) -> None:
    try:
        video = importlib.import_module("imageio_ffmpeg")
    except ModuleNotFoundError:
        raise SettingsError("an .mp4 needs an encoder: pip install 'rpo_jax[video]'") from None
    first = next(frames)
    writer = video.write_frames(str(path), first.size, fps=1 / seconds, macro_block_size=2, output_params=["-f", "mp4"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # JAX's, of processes that are forked and then use it
        writer.send(None)
    for image in (first, *frames):
        writer.send(image.convert("RGB").tobytes())
    writer.close()


WAYS: dict[str, Callable[[Player, Path], float]] = {
    **dict.fromkeys(DRAWINGS, _drawn),
    "brax/": _page,
    "playground/": _by_mujoco,
    "gymnasium/": _rendered,
    "envpool/": _rendered,
}
