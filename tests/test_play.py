"""An episode to look at: what is drawn is what was played."""

import base64
import dataclasses
import functools
import json
import re
import signal
import subprocess
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import imageio_ffmpeg
import jax
import numpy as np
import pytest
import toys
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from PIL import Image, ImageSequence
from rich.console import Console

from rpo_jax import SettingsError, SimulatorError
from rpo_jax.algorithm.acting import make_actor
from rpo_jax.algorithm.agent import Agent
from rpo_jax.cli.main import main
from rpo_jax.envs import SUITES
from rpo_jax.errors import warn_once
from rpo_jax.runs.choose import clip_of, policy_of
from rpo_jax.runs.evaluate import evaluation_key
from rpo_jax.runs.launch import run_to_folder
from rpo_jax.runs.results import load_run
from rpo_jax.runs.session import Session
from rpo_jax.settings.spec import make_spec
from rpo_jax.visual import envpool_renderer, movies, renderers
from rpo_jax.visual import play as module
from rpo_jax.visual.drawings import RED, SIZE, draw_image, mountain_car, pendulum
from rpo_jax.visual.movies import Frame, Movie, add_caption, write_movie
from rpo_jax.visual.play import Player, play
from rpo_jax.visual.renderers import RENDERERS

pytestmark = pytest.mark.usefixtures("shared_agents")

TINY = {"num_envs": 8, "num_steps": 8, "num_minibatches": 4, "total_timesteps": 64, "hidden_sizes": (8,)}


def trained(env: str, folder) -> Player:
    path = folder / "run"
    run_to_folder(make_spec(env, num_seeds=1, **TINY), path, Session(Console(quiet=True)))
    run = load_run(path)
    return Player(run.agent, policy_of(run, (0, 0)), clip_of(run, (0, 0)), seed=4, max_steps=300, sample=False)


def untrained(env: str, max_steps: int) -> Player:
    agent = make_spec(env, **TINY).agent()
    return Player(agent, toys.random_policy(agent), 10.0, seed=4, max_steps=max_steps, sample=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pendulum")


@pytest.fixture(scope="module")
def player(folder) -> Player:
    return trained("gymnax/Pendulum-v1", folder)


def reds(image: Image.Image) -> int:
    """How many pixels are red."""
    return int((np.abs(np.asarray(image, int) - RED).sum(-1) < 40).sum())


def where_red(image: Image.Image) -> tuple[float, float]:
    """Mean column and row of what is red, from the centre, upwards positive."""
    distance = np.abs(np.asarray(image, int) - RED).sum(-1)
    rows, columns = np.nonzero(distance < 40)
    return columns.mean() - SIZE / 2, SIZE / 2 - rows.mean()


@pytest.mark.parametrize("angle", [0.0, 0.5 * np.pi, -0.5 * np.pi, np.pi, 0.7])
def test_the_rod_stands_where_the_angle_says(angle):
    x, y = where_red(draw_image(pendulum, np.array([np.cos(angle), np.sin(angle), 0.0])))
    assert x == pytest.approx(-0.17 * SIZE * np.sin(angle), abs=4)  # its middle; a positive angle leans to the left
    assert y == pytest.approx(0.17 * SIZE * np.cos(angle), abs=4)


@pytest.mark.parametrize("position", [-1.2, -0.52, 0.2, 0.6])
def test_the_car_is_on_the_hill_and_whole(position):
    image = draw_image(mountain_car, np.array([position, 0.0]))
    x, y = where_red(image)
    assert x + SIZE / 2 == pytest.approx(SIZE * (0.06 + 0.88 * (position + 1.2) / 1.8), abs=14)
    valley = draw_image(mountain_car, np.array([-np.pi / 6, 0.0]))
    assert where_red(valley)[1] <= y + 1
    assert reds(image) == pytest.approx(reds(valley), rel=0.15)


def durations(path) -> list[int]:
    """Milliseconds of each frame; those alike are one."""
    with Image.open(path) as movie:
        return [shown.info["duration"] for shown in ImageSequence.Iterator(movie)]


def test_a_gif_lasts_as_long_as_the_episode_and_tells_its_return(player, tmp_path):
    total = play(player, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as movie:
        assert movie.size == (SIZE, SIZE + movies.STRIP)
    assert sum(durations(tmp_path / "a.gif")) == 201 * 50 + 1000  # the time limit, and a second for the end
    episode = player.episode()
    assert total == pytest.approx(float(np.sum(episode.reward)), rel=1e-5)
    assert len(episode.obs) == 200


def test_frames_go_from_the_first_state_to_the_last(player):
    frames, episode = list(RENDERERS["gymnax/Pendulum-v1"](player).frames), player.episode()
    seen = [*np.asarray(episode.obs), np.asarray(episode.final_obs)[-1]]
    assert len(frames) == len(seen) == 201
    for index in (0, 100, 199, 200):
        assert frames[index].picture.tobytes() == draw_image(pendulum, seen[index]).tobytes()
        assert frames[index].total == pytest.approx(float(np.sum(episode.reward[:index])), rel=1e-5)
    np.testing.assert_allclose([x.action for x in frames], [*np.asarray(episode.env_action) / 2, [0]], atol=1e-6)


@pytest.mark.parametrize(("seconds", "steps"), [(0.002, 100), (0.0125, 40), (0.025, 41), (0.3, 4)])
def test_movies_go_at_the_speed_of_the_task(tmp_path, seconds, steps):
    def frames():
        for step in range(steps + 1):
            shade = 255 * step // steps
            yield Frame(Image.new("RGB", (64, 64), (shade, 255 - shade, 0)), np.zeros(2), float(step))

    assert write_movie(Movie(frames(), seconds), tmp_path / "a.gif") == steps
    shown = durations(tmp_path / "a.gif")
    assert min(shown) >= 20
    assert sum(shown) / 1000 == pytest.approx(seconds * steps + movies.HELD, abs=max(0.04, 1.6 * seconds))
    write_movie(Movie(frames(), seconds), tmp_path / "a.mp4")
    _, length = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
    assert length == pytest.approx(sum(shown) / 1000, abs=0.05)
    with Image.open(tmp_path / "a.gif") as movie:
        last = np.asarray([shown.convert("RGB") for shown in ImageSequence.Iterator(movie)][-1])
    red, green, _ = last[10, 10]
    assert red > 240
    assert green < 15


def test_actions_are_bars_upwards_if_positive():
    image = np.asarray(add_caption(Frame(Image.new("RGB", (300, 50)), np.array([1.0, 0.0, -0.5]), 0.0)), int)
    red = np.abs(image - RED).sum(-1) < 40
    columns = 300 - 10 - 16 * 3 + 16 * np.arange(3) + 5
    middle = 50 + movies.STRIP // 2
    assert [int(red[: middle - 1, x].sum()) for x in columns] == [12, 0, 0]
    assert [int(red[middle + 1 :, x].sum()) for x in columns] == [0, 0, 6]


def test_its_actions_are_those_of_the_policy_and_its_rewards_those_of_gym(player):
    episode = player.episode()
    actor = jax.jit(make_actor(player.agent, player.policy, evaluation_key(4), False, player.clip))
    np.testing.assert_allclose(episode.env_action, actor(episode.obs, episode.obs[0, 0]), rtol=1e-4, atol=1e-6)
    angle, velocity = np.arctan2(episode.obs[:, 1], episode.obs[:, 0]), episode.obs[:, 2]
    cost = angle**2 + 0.1 * velocity**2 + 0.001 * episode.env_action[:, 0] ** 2
    np.testing.assert_allclose(episode.reward, -cost, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("env", ["gymnasium/Pendulum-v1", "envpool/Pendulum-v1"])
def test_gymnasiums_own_pictures(player, tmp_path, env):
    player = player._replace(agent=make_spec(env, **TINY).agent())
    total = play(player, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as movie:
        assert movie.size == (500, 500 + movies.STRIP)
    assert sum(durations(tmp_path / "a.gif")) == 201 * 50 + 1000  # its dt, not what its metadata say
    assert total == pytest.approx(return_in_gymnasium(player), rel=1e-3)


def return_in_gymnasium(player: Player) -> float:
    """The same episode with the policy by hand."""
    policy: Any = jax.tree.map(lambda x: np.asarray(x, float), player.policy)
    moments, layers = policy.obs_moments, policy.params["params"]["policy"]
    env = gymnasium.make("Pendulum-v1")
    obs, total = env.reset(seed=player.seed)[0], 0.0
    for _ in range(200):
        x = np.clip((obs - moments.mean) / np.sqrt(moments.variance + 1e-8), -10, 10)
        x = np.tanh(x @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"])
        action = np.clip(x @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"], -2, 2)
        obs, reward, *_ = env.step(action.astype(np.float32))
        total += float(reward)
    return total


class Drawer:
    """Stands for a task of Playground and MuJoCo's renderer."""

    dt = 0.05

    def __init__(self, broken: bool = False):
        self.asked: list[int] = []
        self.broken = broken

    def render(self, states: list[Any], height: int, width: int) -> list[np.ndarray]:
        if self.broken:
            raise RuntimeError("no GL")
        self.asked.append(len(states))
        return [np.full((height, width, 3), state % 251, np.uint8) for state in states]


def test_mujocos_pictures_are_made_in_parts_and_the_last_is_held(player, monkeypatch):
    drawer = Drawer()
    monkeypatch.setattr(renderers.playground, "load", lambda name: drawer)
    monkeypatch.setattr(renderers, "simulations", lambda episode: range(len(episode.reward)))
    frames = list(RENDERERS["playground/"](player).frames)
    assert drawer.asked == [50] * 4
    assert [np.asarray(x.picture)[0, 0, 0] for x in frames] == [*range(200), 199]
    assert frames[-1].total == pytest.approx(float(np.sum(player.episode().reward)), rel=1e-5)
    monkeypatch.setattr(renderers.playground, "load", lambda name: Drawer(broken=True))
    with pytest.raises(SettingsError, match="MuJoCo cannot render here: no GL; MUJOCO_GL=egl or osmesa may help"):
        list(RENDERERS["playground/"](player).frames)


def test_a_sample_is_not_the_mean(player):
    mean, sample = player.episode(), player._replace(sample=True).episode()
    np.testing.assert_array_equal(mean.obs[0], sample.obs[0])
    assert not np.array_equal(mean.env_action[0], sample.env_action[0])


class Motor(gymnasium.Env):
    """Actions without bounds; it burns in its third step."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it
    fault = ""

    def __init__(self, render_mode: str | None = None):
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        if Motor.fault == "motor" and self._steps == 3:
            raise RuntimeError("the motor burnt")
        return np.zeros(1, np.float32), 1.0, self._steps == 5, False, {}

    def render(self) -> Any:
        if Motor.fault == "camera":
            raise RuntimeError("no camera")
        return np.zeros((31, 33, 3), np.uint8)


def test_what_fails_while_it_is_played_is_called_what_it_is(tmp_path, monkeypatch):
    gymnasium.register("Motor-v0", Motor)  # pyright: ignore[reportArgumentType]
    player = untrained("gymnasium/Motor-v0", max_steps=300)
    assert play(player, tmp_path / "a.MP4") == 5  # odd pictures, actions without bounds
    for fault, error, words in (
        ("motor", SimulatorError, "gymnasium/Motor-v0: RuntimeError: the motor burnt"),
        ("camera", SettingsError, "Motor-v0 cannot be rendered here: no camera"),
    ):
        monkeypatch.setattr(Motor, "fault", fault)
        with pytest.raises(error, match=words):
            play(player, tmp_path / "b.gif")
    assert not (tmp_path / "b.gif").exists()
    np.testing.assert_allclose(player.scaled(np.array([0.0, 100.0])), [0, 1])


def test_actions_are_scaled_whatever_their_bounds():
    largest = np.finfo(np.float32).max
    env = toys.counting_env()._replace(
        low=np.array([-2, 0.5, -largest, 0], np.float32), high=np.array([2, 0.5, largest, np.inf], np.float32)
    )
    player: Any = SimpleNamespace(agent=SimpleNamespace(env=env))
    actions = np.array([1, 0.5, largest, 100], np.float32)
    np.testing.assert_allclose(Player.scaled(player, actions), [0.5, np.tanh(0.5), 1, 1])


class Breaking(toys.HangingPool):
    """One whose leg comes off, once it is trained."""

    breaks = False

    def step(self, action: np.ndarray) -> Any:
        if Breaking.breaks:
            raise SimulatorError("the leg came off")
        return super().step(action)


def test_what_fails_or_hangs_while_its_observations_are_drawn_is_no_film(tmp_path, monkeypatch, capsys):
    suite = SUITES["gymnax"]._replace(make=lambda name: toys.host_env(Breaking))
    monkeypatch.setitem(SUITES, "gymnax", suite)
    player = trained("gymnax/MountainCarContinuous-v0", tmp_path)
    assert np.isfinite(play(player, tmp_path / "a.gif"))
    with toys.interrupted_while_it_hangs():
        play(player, tmp_path / "b.gif")
    monkeypatch.setattr(Breaking, "breaks", True)
    assert main(["play", str(tmp_path / "run"), "--out", str(tmp_path / "b.gif")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "rpo-jax: error: an environment failed: the leg came off"
    assert not (tmp_path / "b.gif").exists()


def test_braxs_page_is_one(tmp_path):
    player = untrained("brax/inverted_pendulum", max_steps=7)
    play(player, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    assert re.search(r"<body>\s*<p>brax/inverted_pendulum: return -?\d+\.\d</p>", page)
    (packed,) = re.findall(r'"([A-Za-z0-9+/=]{500,})"', page)
    system = json.loads(zlib.decompress(base64.b64decode(packed)))
    positions = [state["pos"] for state in system["states"]["x"]]
    assert len(positions) == 7
    assert positions[0] != positions[6]
    with pytest.raises(SettingsError, match=r"end in \.html"):
        play(player, tmp_path / "a.gif")


def test_a_task_without_a_picture_is_drawn_as_bars(player, tmp_path):
    other = renamed(player, "toy/own")
    play(other._replace(max_steps=2), tmp_path / "a.gif")
    frame = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB"))[:SIZE, :SIZE]
    columns = [(frame[:, int((index + 0.5) * SIZE / 3)] == (204, 77, 77)).all(-1).sum() for index in range(3)]
    assert all(0 <= count <= 0.46 * SIZE for count in columns)
    assert max(columns) > 0.4 * SIZE  # the largest of the episode


def renamed(player: Player, name: str) -> Player:
    """One that plays the same, and is drawn as another environment."""
    return player._replace(agent=renamed_agent(player.agent, name))


@functools.cache
def renamed_agent(agent: Agent, name: str) -> Agent:
    return dataclasses.replace(agent, env=agent.env._replace(name=name))


def renderer(monkeypatch, tmp_path, program: str) -> None:
    """Puts a program in place of the one that renders."""
    (tmp_path / "renderer.py").write_text(program)
    monkeypatch.setattr(envpool_renderer, "__file__", str(tmp_path / "renderer.py"))
    warn_once.cache_clear()


def without_opengl() -> str:
    """The program as it is where the libraries of OpenGL are absent."""
    program = Path(envpool_renderer.__file__).read_text()
    return program.replace("libEGL.so.1", "libNone.so.1").replace("libGL.so.1", "libNone.so.1")


PROGRAMS = {
    "no OpenGL": (without_opengl(), "ended with 1: libNone.so.1: cannot open shared object file: No such file"),
    "fails": ("raise SystemExit('no camera')", "ended with 1: no camera"),
    "crashes": ("import os; os.abort()", "ended with -6: it does not say why"),
    "stops in a message": (
        "import sys, pickle; sys.stdout.buffer.write(pickle.dumps('x' * 999)[:500])",
        "ended with 0: it does not say why",
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_task_of_envpool_that_cannot_be_rendered_is_drawn_as_bars_and_why(player, tmp_path, monkeypatch, name):
    program, reason = PROGRAMS[name]
    renderer(monkeypatch, tmp_path, program)
    monkeypatch.setattr(renderers, "DRAWINGS", {})
    told = (
        "envpool/HopperHop-v1 is drawn as bars of its observations; Gymnasium: unknown environment "
        f"'gymnasium/HopperHop-v1'.*; EnvPool: the renderer of HopperHop-v1 {reason}"
    )
    with toys.told(told):
        play(renamed(player._replace(max_steps=2), "envpool/HopperHop-v1"), tmp_path / "a.gif")
    assert Image.open(tmp_path / "a.gif").n_frames == 3  # pyright: ignore[reportAttributeAccessIssue]


def test_what_gymnasium_cannot_make_or_render_is_told_as_it_says_it(player, tmp_path, monkeypatch):
    renderer(monkeypatch, tmp_path, "raise SystemExit('no camera')")
    with toys.told("Gymnasium: gymnasium/Pusher-v4 cannot be made: .*mujoco<3.*; EnvPool: .*no camera"):
        play(renamed(player._replace(max_steps=2), "envpool/Pusher-v4"), tmp_path / "a.gif")
    monkeypatch.setattr(PendulumEnv, "render", lambda self: 1 / 0)
    with toys.told("Gymnasium: envpool/Pendulum-v1 cannot be rendered here: division by zero; EnvPool: .*no camera"):
        play(renamed(player._replace(max_steps=2), "envpool/Pendulum-v1"), tmp_path / "a.gif")


def test_a_task_of_envpool_is_rendered_by_envpool_which_is_started_once(tmp_path, monkeypatch):
    started, run = [], subprocess.Popen

    def start(*args: Any, **options: Any) -> Any:
        started.append(run(*args, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    player = untrained("envpool/PendulumSwingup-v1", max_steps=3)
    warn_once.cache_clear()
    total = play(player, tmp_path / "a.gif")
    assert len(started) == 1
    if started[0].returncode != -signal.SIGKILL:
        pytest.skip("there is no OpenGL")
    movie: Any = Image.open(tmp_path / "a.gif")
    frames = [frame.convert("RGB").tobytes() for frame in ImageSequence.Iterator(movie)]
    assert len(set(frames)) == 4  # it moves
    assert 0 <= total <= 3


def test_a_file_that_cannot_be_is_refused_before_anything_is_played(player, tmp_path, monkeypatch):
    monkeypatch.setattr(Player, "episode", lambda self: pytest.fail("played"))
    with pytest.raises(SettingsError, match=r"neither a \.gif nor an \.mp4"):
        play(player, tmp_path / "a.avi")
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(SettingsError, match=r"folder\.gif is a folder, and a file is needed"):
        play(player, tmp_path / "folder.gif")
    (tmp_path / "folder.gif").rmdir()
    monkeypatch.setattr(movies, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'rpo_jax\[video\]'"):
        play(player, tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("player")  # which is trained there
def test_the_command_plays_and_opens_only_where_there_is_a_screen(folder, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(module.webbrowser, "open", opened.append)
    monkeypatch.setattr(module, "has_screen", lambda: False)
    path = folder / "run"
    assert main(["play", str(path), "--max-steps", "3"]) == 0
    assert re.search(r"seed 0: return -?\d+\.\d; .*play\.gif\n", capsys.readouterr().out)
    monkeypatch.setattr(module, "has_screen", lambda: True)
    assert main(["play", str(path), "--max-steps", "3", "--no-open"]) == 0
    assert opened == []
    assert main(["play", str(path), "--max-steps", "3"]) == 0
    assert opened == [(path / "play.gif").resolve().as_uri()]
    assert main(["play", str(path), "--max-steps", "0"]) == 2
    assert json.loads((path / "summary.json").read_text())["interrupted"] is False
