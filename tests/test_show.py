"""Episodes in notebooks: one call, whatever the suite."""

import base64
import io
import re
from functools import partial

import jax
import pytest
import toys
from PIL import Image

import rpo_jax
from rpo_jax.visual.drawings import SIZE
from rpo_jax.visual.notebook import STILL_WIDTH, STILLS

pytestmark = pytest.mark.usefixtures("shared_agents")

TINY = {"num_envs": 8, "num_steps": 8, "num_minibatches": 4, "total_timesteps": 64, "hidden_sizes": (8,)}


def trained(env: str):
    """An agent, and the states [1, 2] of its runs."""
    spec = rpo_jax.make_spec(env, num_seeds=2, **TINY)
    agent = spec.agent()
    return agent, rpo_jax.sweep(agent, spec.hyperparams, rpo_jax.seeds(0, 2))[0]


@pytest.fixture(scope="module")
def pendulum():
    return trained("gymnax/Pendulum-v1")


def shown(replay) -> dict[str, str]:
    return replay._repr_mimebundle_()


def test_a_movie_is_shown_and_beside_it_a_strip(pendulum, tmp_path):
    agent, states = pendulum
    replay = rpo_jax.show(agent, states, run=(0, 1), seed=3, max_steps=9)
    types = shown(replay)
    (packed,) = re.findall(r'<img alt="[^"]+" src="data:image/gif;base64,([^"]+)"/>', types["text/html"])
    assert base64.b64decode(packed) == replay.content
    assert Image.open(io.BytesIO(replay.content)).n_frames >= 10  # pyright: ignore[reportAttributeAccessIssue]
    assert Image.open(io.BytesIO(base64.b64decode(types["image/png"]))).width == STILLS * STILL_WIDTH
    assert types["text/plain"] == repr(replay) == f"gymnax/Pendulum-v1: return {replay.episode_return:,.1f}"
    replay.save(tmp_path / "a.gif")
    assert (tmp_path / "a.gif").read_bytes() == replay.content


def test_states_and_policies_of_one_run_are_the_same(pendulum):
    agent, states = pendulum
    one = jax.tree.map(lambda x: x[0, 1], states.policy)
    content = [
        rpo_jax.show(agent, state, run=run, max_steps=3).content
        for state, run in ((states, (0, 1)), (states.policy, (0, 1)), (one, ()))
    ]
    assert content[0] == content[1] == content[2]
    assert content[0] != rpo_jax.show(agent, states, run=(0, 0), max_steps=3).content


def test_the_seed_is_that_of_the_episode(pendulum):
    agent, states = pendulum
    returns = {rpo_jax.show(agent, states, run=(0, 0), seed=seed, max_steps=3).episode_return for seed in (0, 0, 1)}
    assert len(returns) == 2


def test_what_cannot_be_shown_says_why(pendulum):
    agent, states = pendulum
    with pytest.raises(rpo_jax.SettingsError, match=r"holds runs \[1, 2\], and one is needed"):
        rpo_jax.show(agent, states)
    with pytest.raises(rpo_jax.SettingsError, match=r"run=\(0, 2\) is no run of the state"):
        rpo_jax.show(agent, states, run=(0, 2))
    with pytest.raises(rpo_jax.SettingsError, match="max_steps=0 is out of range"):
        rpo_jax.show(agent, states, run=(0, 0), max_steps=0)
    with pytest.raises(rpo_jax.SettingsError, match="out of range"):
        rpo_jax.show(agent, states, run=(0, 0), seed=-1)


@pytest.mark.parametrize("run", [(0, 2), (1, 0), (0, -3), (0, 0, 0, 0)])
def test_a_run_that_the_state_does_not_have_is_an_error_and_not_another_run(pendulum, run):
    agent, states = pendulum
    for choose in (rpo_jax.show, rpo_jax.make_policy):
        with pytest.raises(rpo_jax.SettingsError, match="is no run of the state"):
            choose(agent, states, run=run)


def test_a_task_of_ones_own_is_drawn_by_its_own_function():
    env = toys.counting_env()
    agent = rpo_jax.make_agent(env, rpo_jax.RPO, rpo_jax.TrainConfig(**TINY))
    state = jax.jit(partial(rpo_jax.init, agent))(rpo_jax.Hyperparams(), jax.random.key(0))
    bars = rpo_jax.show(agent, state, max_steps=2)
    assert Image.open(io.BytesIO(bars.content)).width == SIZE
    seen = []

    def draw(obs):
        seen.append(obs)
        return Image.new("RGB", (302, 100), (0, 0, 255))

    own = rpo_jax.show(agent, state, max_steps=2, draw=draw)
    assert Image.open(io.BytesIO(own.content)).width == 302
    assert [len(obs) for obs in seen] == [env.observation_size] * 3


def test_gymnasium_is_rendered_as_it_was_made():
    spec = rpo_jax.make_spec("gymnasium/Pendulum-v1", num_seeds=1, env_args={"g": 5.0}, **TINY)
    agent = spec.agent()
    assert agent.env.options == {"g": 5.0}
    assert Image.open(io.BytesIO(rpo_jax.show(agent, toys.random_policy(agent), max_steps=2).content)).width == 500


def test_brax_is_a_page():
    env = rpo_jax.make_env("brax/inverted_pendulum", backend="positional", batching="last")
    assert env.options == {"backend": "positional"}
    agent = rpo_jax.make_agent(env, rpo_jax.RPO, rpo_jax.TrainConfig(**TINY))
    types = shown(rpo_jax.show(agent, toys.random_policy(agent), max_steps=3))
    assert types["text/html"].startswith("<iframe srcdoc=")
    assert "brax/inverted_pendulum: return" in types["text/html"]
    assert "image/png" not in types
