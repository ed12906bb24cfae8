"""MuJoCo Playground through the adapter against its environments stepped by their own functions."""

import sys

import jax
import numpy as np
import pytest

from rpo_jax import SettingsError, make_env

# It begins at a random angle. `correctness.py` compares all tasks, and test_evaluation_by_suite.py plays another.
TASKS = ["PendulumSwingup"]


@pytest.mark.parametrize("name", TASKS)
def test_same_keys_and_actions_give_what_playground_gives(name):
    from mujoco_playground import registry

    env, own = make_env(f"playground/{name}"), registry.load(name, config_overrides={"impl": "jax"})
    keys = jax.random.split(jax.random.key(0), 3)
    episodes = state, obs = jax.jit(env.reset)(keys)
    expected = jax.jit(jax.vmap(own.reset))(keys)
    np.testing.assert_allclose(obs, expected.obs, rtol=1e-5, atol=1e-5)
    assert env.time_limit == registry.get_default_config(name).episode_length
    step, own_step = jax.jit(env.step), jax.jit(jax.vmap(own.step))
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 3, env.action_size)).astype(np.float32)
    for action in actions:
        state, timestep = step(keys, state, action, episodes)
        expected = own_step(expected, action)
        np.testing.assert_allclose(timestep.final_obs, expected.obs, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(timestep.reward, expected.reward, rtol=1e-3, atol=1e-3)
        assert not timestep.ended.any()
    late = (state[0], np.full(3, (env.time_limit or 0) - 1, np.int32))
    state, timestep = step(keys, late, actions[0], episodes)
    assert timestep.truncated.all()
    assert not timestep.terminated.any()
    np.testing.assert_allclose(timestep.obs, obs, rtol=1e-6)


def test_an_unknown_task_is_refused():
    with pytest.raises(SettingsError, match=r"did you mean .*playground/CartpoleBalance"):
        make_env("playground/CartpoleBalanse")


def test_without_playground_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_playground", None)
    with pytest.raises(SettingsError, match=r"rpo_jax\[playground\]"):
        make_env("playground/AnyTask")  # one that was made before would be remembered
