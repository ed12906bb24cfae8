"""An episode to look at: what is drawn is what was played."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
from PIL import Image, ImageSequence
from rich.console import Console

from rpo_jax import SettingsError
from rpo_jax.cli import main
from rpo_jax.evaluation import make_actor
from rpo_jax.runs import play as module
from rpo_jax.runs.chosen import clip_of, policy_of
from rpo_jax.runs.drawings import RED, SIZE, frame, mountain_car, pendulum
from rpo_jax.runs.folder import load_run
from rpo_jax.runs.launch import run_to_folder
from rpo_jax.runs.play import Player, play
from rpo_jax.runs.replay import evaluation_key
from rpo_jax.runs.spec import make_spec

TINY = {"num_envs": 8, "num_steps": 8, "num_minibatches": 4, "total_timesteps": 64, "hidden_sizes": (8,)}


def trained(env: str, folder) -> Player:
    path = folder / "run"
    run_to_folder(make_spec(env, num_seeds=1, **TINY), path, Console(quiet=True))
    return Player(load_run(path), (0, 0), seed=4, max_steps=300, sample=False)


@pytest.fixture(scope="module")
def player(tmp_path_factory) -> Player:
    return trained("gymnax/Pendulum-v1", tmp_path_factory.mktemp("pendulum"))


def where_red(image: Image.Image) -> tuple[float, float]:
    """Mean column and row of what is red, from the centre, upwards positive."""
    distance = np.abs(np.asarray(image, int) - RED).sum(-1)
    rows, columns = np.nonzero(distance < 40)
    return columns.mean() - SIZE / 2, SIZE / 2 - rows.mean()


@pytest.mark.parametrize("angle", [0.0, 0.5 * np.pi, -0.5 * np.pi, np.pi, 0.7])
def test_the_rod_stands_where_the_angle_says(angle):
    image = frame(pendulum, np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([0.0]), "")
    x, y = where_red(image)
    assert x == pytest.approx(-0.17 * SIZE * np.sin(angle), abs=4)  # its middle; a positive angle leans to the left
    assert y == pytest.approx(0.17 * SIZE * np.cos(angle), abs=4)


@pytest.mark.parametrize("position", [-1.0, -0.52, 0.2])
def test_the_car_is_on_the_hill(position):
    x, y = where_red(frame(mountain_car, np.array([position, 0.0]), np.array([0.0]), ""))
    assert x + SIZE / 2 == pytest.approx(SIZE * (position + 1.2) / 1.8, abs=6)
    valley = where_red(frame(mountain_car, np.array([-np.pi / 6, 0.0]), np.array([0.0]), ""))
    assert valley[1] <= y + 1


def test_a_gif_lasts_as_long_as_the_episode_and_tells_its_return(player, tmp_path):
    total = play(player, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (SIZE, SIZE)
        durations = [shown.info["duration"] for shown in ImageSequence.Iterator(picture)]  # those alike are one
    assert sum(durations) == 200 * 50  # the time limit, at 0.05 s
    episode = player.episode()
    assert total == pytest.approx(float(np.sum(episode.reward)), rel=1e-5)
    assert len(episode.obs) == 200


def test_its_actions_are_those_of_the_policy_and_its_rewards_those_of_gym(player):
    episode = player.episode()
    policy = policy_of(player.run, player.place)
    actor = make_actor(player.run.agent, policy, evaluation_key(4), False, clip_of(player.run, player.place))
    np.testing.assert_allclose(episode.env_action, actor(episode.obs, episode.obs[0, 0]), rtol=1e-4, atol=1e-6)
    angle, velocity = np.arctan2(episode.obs[:, 1], episode.obs[:, 0]), episode.obs[:, 2]
    cost = angle**2 + 0.1 * velocity**2 + 0.001 * episode.env_action[:, 0] ** 2
    np.testing.assert_allclose(episode.reward, -cost, rtol=1e-3, atol=1e-3)


def test_an_mp4_is_one(player, tmp_path):
    play(player._replace(max_steps=20), tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"


def test_gymnasiums_own_pictures(tmp_path):
    player = trained("gymnasium/Pendulum-v1", tmp_path)
    total = play(player, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (500, 500)
    assert -2000 < total < 0


def test_braxs_page_is_one(tmp_path):
    player = trained("brax/reacher", tmp_path)._replace(max_steps=7)
    play(player, tmp_path / "a.html")
    (packed,) = re.findall(r'"([A-Za-z0-9+/=]{500,})"', (tmp_path / "a.html").read_text())
    system = json.loads(zlib.decompress(base64.b64decode(packed)))
    positions = [state["pos"] for state in system["states"]["x"]]
    assert len(positions) == 7
    assert positions[0] != positions[6]
    with pytest.raises(SettingsError, match=r"end in \.html"):
        play(player, tmp_path / "a.gif")


def test_what_cannot_be_drawn_says_what_can(player, tmp_path):
    spec = player.run.spec
    other = player._replace(run=player.run._replace(spec=type(spec)(**{**vars(spec), "env": "toy/own"})))
    with pytest.raises(SettingsError, match="toy/own cannot be drawn; what can: gymnax/Pendulum-v1"):
        play(other, tmp_path / "a.gif")
    with pytest.raises(SettingsError, match=r"neither a \.gif nor an \.mp4"):
        play(player, tmp_path / "a.avi")
    assert list(tmp_path.glob("a.*")) == []


def test_the_command_plays_and_opens_only_where_there_is_a_screen(tmp_path, monkeypatch, capsys):
    trained("gymnax/MountainCarContinuous-v0", tmp_path)
    opened = []
    monkeypatch.setattr(module.webbrowser, "open", opened.append)
    monkeypatch.setattr(module, "has_screen", lambda: False)
    path = tmp_path / "run"
    assert main(["play", str(path), "--max-steps", "30"]) == 0
    assert re.search(r"seed 0: return -?\d+\.\d; .*play\.gif\n", capsys.readouterr().out)
    monkeypatch.setattr(module, "has_screen", lambda: True)
    assert main(["play", str(path), "--max-steps", "3", "--no-open"]) == 0
    assert opened == []
    assert main(["play", str(path), "--max-steps", "3"]) == 0
    assert opened == [(path / "play.gif").resolve().as_uri()]
    assert main(["play", str(path), "--max-steps", "0"]) == 2
    assert json.loads((path / "summary.json").read_text())["interrupted"] is False
