"""Gymnasium through the adapter against its environments driven one by one."""

import sys
from importlib.util import find_spec
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
import toys
from test_envpool_suite import act

import rpo_jax
from rpo_jax import SettingsError, SimulatorError, from_gymnasium, make_env
from rpo_jax.envs.wrappers import suite_state

IDS = (
    "Pendulum-v1",
    "MountainCarContinuous-v0",
    "BipedalWalker-v3",
    "LunarLanderContinuous-v3",
    "Hopper-v5",
    "InvertedDoublePendulum-v5",
    pytest.param("AntBulletEnv-v0", marks=pytest.mark.skipif(not find_spec("pybullet"), reason="PyBullet is absent")),
)


@pytest.mark.parametrize("env_id", IDS)
def test_same_seeds_and_actions_give_what_gymnasium_gives(env_id):
    env = make_env(f"gymnasium/{env_id}")
    state, found = act(env, num_steps=120, num_envs=2)
    for index, seed in enumerate(np.asarray(suite_state(state.env_state).seed).tolist()):
        single = gymnasium.make(env_id)
        obs, _ = single.reset(seed=seed)
        for t, action in enumerate(np.clip(found.action[:, index], env.low, env.high)):
            np.testing.assert_allclose(found.obs[t, index], obs, rtol=1e-5, atol=1e-5)
            obs, reward, terminated, truncated, _ = single.step(action)
            np.testing.assert_allclose(found.final_obs[t, index], obs, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(found.reward[t, index], float(reward), rtol=1e-5, atol=1e-5)
            assert (found.terminated[t, index], found.truncated[t, index]) == (terminated, truncated)
            if terminated or truncated:
                obs, _ = single.reset()
        single.close()


class Corridor(gymnasium.Env):
    """A user's own: two observations in a dictionary; breaks where its number of steps is 25."""

    def __init__(self):
        box = gymnasium.spaces.Box(-10, 10, (1,), np.float64)
        self.observation_space = gymnasium.spaces.Dict({"x": box, "goal": box})
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.time = self.np_random.uniform(-1, 1), 0
        return self._obs(), {}

    def _obs(self) -> Any:
        return {"x": np.array([self.x]), "goal": np.array([3.0])}

    def step(self, action):
        self.x, self.time = self.x + 0.5 * float(action[0]), self.time + 1
        return self._obs(), -abs(3 - self.x), bool(abs(self.x) > 5), self.time >= 20, {}


class Old(Corridor):
    """With the interface of Gym before 0.26, in its reset or in its step."""

    def __init__(self, where: str):
        super().__init__()
        self.where = where

    def reset(self, *, seed=None, options=None) -> Any:
        obs, info = super().reset(seed=seed)
        return obs if self.where == "reset" else (obs, info)

    def step(self, action) -> Any:
        obs, reward, terminated, truncated, info = super().step(action)
        ends = (terminated or truncated,) if self.where == "step" else (terminated, truncated)
        return obs, reward, *ends, info


@pytest.mark.parametrize("where", ["reset", "step"])
def test_an_environment_of_the_interface_before_is_named_so(where):
    env = from_gymnasium(lambda: Old(where), name="mine/old")
    with pytest.raises(SimulatorError, match=rf"its {where} does not return . values: .* of Gym before 0\.26"):
        act(env, num_steps=3, num_envs=2)


class Frugal(Corridor):
    """Fills the same array with every observation."""

    def __init__(self):
        super().__init__()
        self.observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float64)
        self.array = np.zeros(1)

    def _obs(self) -> Any:
        self.array[0] = self.x
        return self.array


def test_an_array_that_is_filled_again_is_not_the_last_observation():
    _, found = act(from_gymnasium(Frugal, name="corridor"), num_steps=50)
    ended = found.truncated | found.terminated
    steps = found.obs[..., 0] + 0.5 * np.clip(found.action[..., 0], -1, 1)
    np.testing.assert_allclose(found.final_obs[..., 0][ended], steps[ended], rtol=1e-5)


class Breaking(Corridor):
    def step(self, action):
        if self.x > 0.9:
            raise RuntimeError("fell into a hole")
        return super().step(action)


class Misshapen(Corridor):
    def _obs(self) -> Any:
        return super()._obs() if self.time == 0 else {"x": np.zeros(2), "goal": np.zeros(2)}


def test_observations_that_are_not_those_of_the_space_are_told():
    config = rpo_jax.TrainConfig(num_envs=2, num_steps=8, total_timesteps=16, num_minibatches=2, hidden_sizes=(8,))
    agent = rpo_jax.make_agent(from_gymnasium(Misshapen, name="corridor"), rpo_jax.RPO, config)
    with pytest.raises(rpo_jax.SimulatorError, match=r"observations of shape \(4,\), and its space says \(2,\)"):
        rpo_jax.sweep(agent, rpo_jax.grid(), rpo_jax.seeds(0, 1))


def test_an_environment_in_place_of_a_function_is_refused():
    with pytest.raises(SettingsError, match="lambda: MyEnv"):
        from_gymnasium(Corridor(), name="corridor")  # pyright: ignore[reportArgumentType]


def test_an_environment_of_ones_own_trains_and_is_flattened():
    env = from_gymnasium(Corridor, name="corridor")
    assert (env.observation_size, env.time_limit) == (2, None)
    _, found = act(env, num_steps=50)
    assert found.truncated.sum() >= 3
    np.testing.assert_array_equal(found.obs[..., 0], 3.0)  # Gymnasium's own order is that of the names


def test_an_exception_ends_the_run_with_its_message_and_its_seed():
    config = rpo_jax.TrainConfig(num_envs=2, num_steps=8, total_timesteps=800, num_minibatches=2, hidden_sizes=(8,))
    agent = rpo_jax.make_agent(from_gymnasium(Breaking, name="corridor"), rpo_jax.RPO, config)
    with toys.told("fell into a hole"):
        result = rpo_jax.fit(agent, rpo_jax.grid(), rpo_jax.seeds(0, 3))
    assert result.failure is not None
    assert result.failure.message == "RuntimeError: fell into a hole"
    assert result.failure.run is not None
    setting, seed = result.failure.run
    assert setting == 0
    assert seed in range(3)
    assert jax.tree.leaves(result.state.params)[0].shape[:2] == (1, 3)


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("BipedalWaker-v3", ["BipedalWalker-v3"]),
        ("CartPole-v1", ["Discrete", "real numbers"]),
        ("CarRacing-v3", ["vectors of real numbers"]),
        ("no_such_module:Mine-v0", ["no_such_module"]),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(env_id, words):
    with pytest.raises(SettingsError) as caught:
        make_env(f"gymnasium/{env_id}")
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words)


def test_a_package_that_is_absent_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pybullet_envs_gymnasium", None)
    for env_id in [env_id for env_id in gymnasium.registry if "Bullet" in env_id]:
        monkeypatch.delitem(gymnasium.registry, env_id)
    with pytest.raises(SettingsError, match="pip install pybullet-envs-gymnasium"):
        make_env("gymnasium/AntBulletEnv-v0")
