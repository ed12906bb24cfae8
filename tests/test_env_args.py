"""Arguments of environments: they reach the simulator, and every later use of a run folder."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import gymnax
import jax
import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax import SettingsError, make_env
from rpo_jax.cli.parse import parse
from rpo_jax.cli.train import _spec
from rpo_jax.envs import ENVIRONMENTS
from rpo_jax.envs.suites import brax, envpool
from rpo_jax.envs.suites.gymnasium import make_renderable
from rpo_jax.execution.identity import identify
from rpo_jax.runs.settings import load_spec, write_settings
from rpo_jax.settings.spec import make_spec


def test_parameters_of_gymnax_are_those_of_its_simulator():
    env = make_env("gymnax/Pendulum-v1", g=5.0, max_episode_steps=3)
    assert (env.name, env.time_limit) == ("gymnax/Pendulum-v1(g=5.0, max_episode_steps=3)", 3)
    single, params = gymnax.make("Pendulum-v1")
    keys = rpo_jax.seeds(0, 2)
    state, _ = initial = env.reset(keys)
    action = np.array([[0.3], [-2.0]], np.float32)
    own_step = jax.jit(partial(single.step_env, params=params.replace(g=5.0)))
    for time in range(3):
        before, (state, step) = jax.device_get(state), env.step(keys, state, jax.numpy.asarray(action), initial)
        for index in range(2):
            own = jax.tree.map(lambda x, index=index: x[index], before)
            expected, *_ = own_step(keys[index], own, action[index])
            np.testing.assert_allclose(step.final_obs[index], expected, rtol=1e-5, atol=1e-6)
        assert np.asarray(step.truncated).all() == (time == 2)


def test_arguments_of_gymnasium_are_those_of_its_environment():
    env = make_env("gymnasium/Pendulum-v1", g=5.0, max_episode_steps=50)
    assert (env.name, env.time_limit) == ("gymnasium/Pendulum-v1(g=5.0, max_episode_steps=50)", 50)
    state, obs = env.reset(rpo_jax.seeds(0, 1))
    _, step = env.step(rpo_jax.seeds(0, 1), state, jax.numpy.zeros((1, 1)), None)
    env.close(state)
    single: Any = gymnasium.make("Pendulum-v1", g=5.0)
    np.testing.assert_allclose(single.reset(seed=int(state.seed[0]))[0], obs[0], rtol=1e-6)
    np.testing.assert_allclose(single.step(np.zeros(1, np.float32))[0], step.final_obs[0], rtol=1e-5)
    drawn: Any = make_renderable("Pendulum-v1", g=5.0)
    assert (drawn.unwrapped.g, drawn.render_mode) == (5.0, "rgb_array")
    with pytest.raises(SettingsError, match="render_mode of gymnasium/Pendulum-v1 cannot be chosen"):
        make_renderable("Pendulum-v1", render_mode="human")


def test_none_is_an_argument_of_an_environment_and_the_default_of_an_option(monkeypatch):
    monkeypatch.setitem(ENVIRONMENTS._registered, "mine/tall", lambda high: toys.counting_env(high=high or 2.0))
    assert make_env("mine/tall", high=None, backend=None).high == 2.0
    assert make_env("gymnasium/Pendulum-v1", max_episode_steps=None).time_limit == 200


def test_arguments_of_brax_are_those_of_its_environment():
    env: Any = brax.load("hopper", ctrl_cost_weight=0.25, max_episode_steps=7)
    assert env._ctrl_cost_weight == 0.25
    env = make_env("brax/fast", max_episode_steps=2)
    assert (env.name, env.time_limit) == ("brax/fast(max_episode_steps=2)", 2)
    keys = rpo_jax.seeds(0, 1)
    state, _ = initial = env.reset(keys)
    for time in range(2):
        state, step = env.step(keys, state, jax.numpy.zeros((1, 1)), initial)
        assert bool(step.truncated[0]) == (time == 1)


def test_arguments_of_ones_own_environment_are_those_of_its_function(monkeypatch):
    tall = "mine/tall"
    monkeypatch.setitem(ENVIRONMENTS._registered, tall, lambda high=1.0: toys.counting_env(high=high))
    assert make_env(tall, high=3.0).high == 3.0
    with pytest.raises(SettingsError, match=r"registered as mine/tall cannot be called with .*'low'"):
        make_env(tall, low=3.0)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("gymnax/Pendulum-v1", {"gg": 1.0}, "unknown parameter of gymnax/Pendulum-v1 'gg'; did you mean g"),
        ("gymnax/Pendulum-v1", {"g": "heavy"}, r"g='heavy' of gymnax/Pendulum-v1 must be of type float, as 10\.0 is"),
        ("gymnax/Pendulum-v1", {"g": True}, "g=True .* must be of type float"),
        ("gymnax/Pendulum-v1", {"max_episode_steps": 9.5}, "must be of type int, as 200 is"),
        ("gymnax/Pendulum-v1", {"max_episode_steps": 0}, "time_limit=0; it must be a whole number"),
        ("gymnax/PointRobot-misc", {"dense_reward": 1}, "must be of type bool, as False is"),
        ("gymnasium/Pendulum-v1", {"gg": 1.0}, "gymnasium/Pendulum-v1 cannot be made: .*'gg'"),
        ("brax/hopper", {"weight": 1.0}, "brax/hopper cannot be made with .*unexpected keyword argument 'weight'"),
        ("brax/hopper", {"max_episode_steps": "many"}, "time_limit='many'; it must be a whole number"),
        ("gymnax/Pendulum-v1", {"g": None}, "g=None .* must be of type float"),
        ("gymnax/Pendulum-v1", {"g": 10**400}, "g=1000.* of gymnax/Pendulum-v1 is out of range: -3"),
        (
            "gymnax/Pendulum-v1",
            {"max_episode_steps": 2**31},
            r"out of range: -2\.14748e\+09 \.\.\. 2",
        ),
        ("gymnax/Pendulum-v1", {"env_id": "x"}, "unknown parameter of gymnax/Pendulum-v1 'env_id'"),
        ("gymnax/Pendulum-v1", {"name": "x"}, "unknown parameter of gymnax/Pendulum-v1 'name'"),
        ("gymnasium/Pendulum-v1", {"env_id": "x"}, "gymnasium/Pendulum-v1 cannot be made: .*'env_id'"),
        ("gymnasium/Pendulum-v1", {"gymnasium": 1}, "gymnasium/Pendulum-v1 cannot be made: .*'gymnasium'"),
        ("gymnasium/Pendulum-v1", {"id": "x"}, "gymnasium/Pendulum-v1 cannot be made: .*'id'"),
        (
            "gymnasium/Pendulum-v1",
            {"render_mode": "rgb_array"},
            "render_mode of gymnasium/Pendulum-v1 cannot be chosen",
        ),
        ("brax/hopper", {"name": "x"}, "brax/hopper cannot be made with .*'name'"),
        ("brax/hopper", {"env_name": "x"}, "brax/hopper cannot be made with .*'env_name'"),
        ("brax/fast", {"max_episode_steps": 2**31}, "time_limit=2147483648; it must be 2147483647 or less"),
        ("brax/inverted_pendulum", {"n_frames": "many"}, "brax/inverted_pendulum cannot be made with .*'many'"),
        ("mine/tall", {"name": "x"}, "registered as mine/tall cannot be called with .*'name'"),
        ("mine/tall", {"high": "x"}, "registered as mine/tall fails with .*ValueError"),
        ("playground/CartpoleBalance", {"g": None}, "unknown option 'g'"),
        ("playground/CartpoleBalance", {"g": 1.0}, "unknown option 'g'"),
        ("envpool/Pendulum-v1", {"g": 1.0}, "unknown option 'g'"),
    ],
)
def test_an_argument_that_is_not_taken_is_told(name, arguments, words, monkeypatch):
    monkeypatch.setitem(ENVIRONMENTS._registered, "mine/tall", lambda high=1.0: toys.counting_env(high=float(high)))
    with pytest.raises(SettingsError, match=words) as caught:
        make_env(name, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["gymnasium/Pendulum-v1", "envpool/Pendulum-v1"])
def test_what_a_simulator_says_is_told_as_short_text(name, monkeypatch):
    def fail(*args):
        raise RuntimeError("\x1b[2J" + 10**6 * "it has\nno legs ")

    pool: Any = SimpleNamespace(list_all_envs=lambda: ["Pendulum-v1"], make_spec=fail)
    monkeypatch.setattr(gymnasium, "make", fail)
    monkeypatch.setattr(envpool, "_import_envpool", lambda: pool)
    with pytest.raises(SettingsError, match=f"{name} cannot be made: .*it has no legs") as caught:
        make_env(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_a_run_folder_keeps_them(tmp_path: Path):
    spec = make_spec("gymnax/Pendulum-v1", env_args={"g": 5.0, "max_episode_steps": 30})
    write_settings(tmp_path, spec)
    assert json.loads((tmp_path / "settings.json").read_text())["env_args"] == {"g": 5.0, "max_episode_steps": 30}
    loaded = load_spec(tmp_path)
    assert loaded.env_args == spec.env_args
    env = loaded.agent().env
    assert (env.name, env.time_limit) == ("gymnax/Pendulum-v1(g=5.0, max_episode_steps=30)", 30)


def test_what_a_folder_cannot_keep_is_refused():
    assert make_spec("brax/fast", env_args={}).env_args == {}
    for wrong, words in (
        ({"g": np.zeros(2)}, "cannot be stored; give finite numbers"),
        ({"g": float("nan")}, "cannot be stored"),
        ({"backend": "spring"}, "backend is an option of make_env"),
    ):
        with pytest.raises(SettingsError, match=words):
            make_spec("gymnax/Pendulum-v1", env_args=wrong)


def test_a_checkpoint_of_another_argument_is_not_ones_own():
    values: list[dict[str, Any]] = [{}, {"g": 5.0}, {"g": 6.0}]
    digests = [
        identify(
            rpo_jax.make_agent(make_env("gymnax/Pendulum-v1", **arguments)),
            rpo_jax.Hyperparams(),
            rpo_jax.seeds(0, 1),
            None,
            None,
        )["environment"]
        for arguments in values
    ]
    assert len(set(digests)) == 3


def test_the_command_line_gives_them():
    arguments = ["--env-arg", "g=5.0", "--env-arg", "max_episode_steps=30"]
    options: Any = parse(["train", "gymnax/Pendulum-v1", *arguments])
    assert _spec(options, "rpo").env_args == {"g": 5.0, "max_episode_steps": 30}
    options = parse(["compare", "gymnax/PointRobot-misc", "--env-arg=dense_reward=true"])
    assert _spec(options, "ppo").env_args == {"dense_reward": True}


@pytest.mark.parametrize("texts", [["g"], ["=5"], ["g="], ["g=1", "g=2"], ["2g=1"]])
def test_an_argument_that_cannot_be_read_is_told(texts):
    options: Any = parse(["train", *(part for text in texts for part in ("--env-arg", text))])
    with pytest.raises(SettingsError, match=rf"--env-arg {texts[-1]} is not understood; give NAME=VALUE"):
        _spec(options, "rpo")
