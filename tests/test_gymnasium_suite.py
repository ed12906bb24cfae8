"""Gymnasium through the adapter against its environments driven one by one."""

import itertools
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
    config = rpo_jax.TrainConfig(num_envs=2, num_steps=8, total_timesteps=16, num_minibatches=2, hidden_sizes=())
    agent = rpo_jax.make_agent(from_gymnasium(Misshapen, name="corridor"), rpo_jax.RPO, config)
    with pytest.raises(rpo_jax.SimulatorError, match=r"observations of shape \(4,\), and its space says \(2,\)"):
        rpo_jax.sweep(agent, rpo_jax.grid(), rpo_jax.seeds(0, 1))


def test_an_environment_in_place_of_a_function_is_refused():
    with pytest.raises(SettingsError, match=r"a new one on each call: lambda: MyEnv\(\), and not lambda: env"):
        from_gymnasium(Corridor(), name="corridor")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SettingsError, match="returns int, and not a gymnasium"):
        from_gymnasium(lambda: 7, name="corridor")  # pyright: ignore[reportArgumentType, reportReturnType]


def step(env: rpo_jax.Environment, actions: Any) -> list[Any]:
    """Does these actions [T, N, A], in one program each; all observations."""
    keys = rpo_jax.seeds(0, len(actions[0]))
    state, first = env.reset(keys)
    do, found = jax.jit(lambda state, action: env.step(keys, state, action, None)[1]), [first]
    for action in np.asarray(actions, np.float32):
        step = jax.block_until_ready(do(state, action))
        found += [step.final_obs, step.obs]
    env.close(state)
    env.check()
    return found


def test_one_environment_for_all_is_refused():
    env: Any = Corridor()
    made, turns = gymnasium.make("Pendulum-v1"), itertools.cycle([Corridor(), Corridor()])
    for same in (lambda: env, lambda: gymnasium.wrappers.TimeLimit(env, 20), lambda: made):
        with pytest.raises(SettingsError, match="corridor is one and the same object each time"):
            from_gymnasium(same, name="corridor")
    env = from_gymnasium(lambda: next(turns), name="corridor")  # seen when there are more of them
    with pytest.raises(rpo_jax.SimulatorError, match="corridor is one and the same object each time"):
        step(env, np.zeros((1, 3, 1)))


SPACES: Any = gymnasium.spaces
BOX = SPACES.Box(-1, 1, (2,), np.float32)


def returning(space: Any, value: Any, actions: Any = BOX, reward: Any = 1.0, ends: Any = (False, False)) -> Any:
    """A class of environments that return this at each step, and keep the actions that they were given."""

    class Returning(gymnasium.Env):
        observation_space, action_space = space, actions
        given: list[np.ndarray] = []  # noqa: RUF012

        def reset(self, *, seed=None, options=None):
            return value, {}

        def step(self, action):
            Returning.given.append(action)
            return value, reward, *ends, {}

    return Returning


OBSERVATIONS = {
    "Discrete": (SPACES.Discrete(3, start=5), 6, [0, 1, 0]),
    "MultiDiscrete": (SPACES.MultiDiscrete([2, 3]), np.array([1, 2]), [0, 1, 0, 0, 1]),
    "MultiBinary": (SPACES.MultiBinary(3), np.array([1, 0, 1], np.int8), [1, 0, 1]),
    "uint8": (SPACES.Box(0, 255, (2,), np.uint8), np.array([3, 255], np.uint8), [3, 255]),
    "bool": (SPACES.Box(0, 1, (2,), np.bool_), np.array([True, False]), [1, 0]),
    "int64": (SPACES.Box(-(2**62), 2**62, (2,), np.int64), np.array([2**40, -5]), [2**40, -5]),
    "int32 that returns floats": (SPACES.Box(-9, 9, (2,), np.int32), np.array([0.75, -0.75]), [0.75, -0.75]),
    "float16 that returns more": (SPACES.Box(-1, 1, (2,), np.float16), np.array([1e6, 0.5]), [1e6, 0.5]),
    "a tuple": (SPACES.Tuple((SPACES.Discrete(2), BOX)), (1, np.array([0.5, -0.5], np.float32)), [0, 1, 0.5, -0.5]),
}


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations_of_every_plain_space_are_vectors_of_float32(name):
    space, value, expected = OBSERVATIONS[name]
    env = from_gymnasium(returning(space, value), name=name)
    assert env.observation_size == len(expected)
    for obs in step(env, np.zeros((2, 2, 2))):
        assert obs.dtype == np.float32
        np.testing.assert_array_equal(obs, np.broadcast_to(np.float32(expected), obs.shape))


REFUSED = {
    "text": SPACES.Text(5),
    "a sequence": SPACES.Sequence(SPACES.Discrete(2)),
    "a picture": SPACES.Box(0, 255, (64, 64, 3), np.uint8),
    "a picture in a dictionary": SPACES.Dict(image=SPACES.Box(0, 255, (8, 8, 3), np.uint8), v=BOX),
    "text in a tuple": SPACES.Tuple((BOX, SPACES.Text(5))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_observations_that_are_no_numbers_are_refused(name):
    with pytest.raises(SettingsError, match="RPO needs vectors of real numbers"):
        from_gymnasium(returning(REFUSED[name], None), name="corridor")


def test_empty_spaces_are_refused():
    empty = SPACES.Box(-1, 1, (0,), np.float32)
    with pytest.raises(SettingsError, match="corridor has observation_size=0"):
        from_gymnasium(returning(empty, None), name="corridor")
    with pytest.raises(SettingsError, match="0 lower and 0 upper action bounds"):
        from_gymnasium(returning(BOX, None, actions=empty), name="corridor")


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ({"reward": "1"}, "returned reward='1', which must be a single number"),
        ({"reward": np.ones(2)}, "returned reward=array"),
        ({"ends": (None, False)}, "returned terminated=None"),
        ({"ends": (False, "no")}, "returned truncated='no'"),
        ({"ends": (np.zeros(2, bool), False)}, "returned terminated=array"),
    ],
)
def test_rewards_and_flags_that_are_none_are_told(returned, words):
    env = from_gymnasium(returning(BOX, np.zeros(2), **returned), name="corridor")
    with pytest.raises(rpo_jax.SimulatorError, match=words):
        step(env, np.zeros((1, 1, 2)))


ACTIONS = {
    "float64": SPACES.Box(np.array([-0.1, 0.7]), np.array([0.1, 0.9]), dtype=np.float64),
    "float16": SPACES.Box(-0.1, 0.1, (2,), np.float16),
    "int32": SPACES.Box(-1, 1, (2,), np.int32),
    "uint8": SPACES.Box(0, 255, (2,), np.uint8),
    "bool": SPACES.Box(0, 1, (2,), np.bool_),
}


@pytest.mark.parametrize("head", ["normal", "tanh-normal"])
@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_of_their_space(name, head):
    space = ACTIONS[name]
    kind = returning(BOX, np.zeros(2, np.float32), actions=space)
    agent = rpo_jax.make_agent(from_gymnasium(kind, name=name), head=rpo_jax.get_head(head))
    step(agent.env, agent.to_env(5 * jax.random.normal(jax.random.key(0), (20, 1, 2))))
    assert [action for action in kind.given if not space.contains(action)] == []
    assert (np.ptp(np.array(kind.given, float), axis=0) > 0).all()


def test_integer_actions_are_rounded_to_the_nearest_and_that_is_told():
    kind = returning(BOX, np.zeros(2, np.float32), actions=SPACES.Box(-3, 3, (2,), np.int32))
    with toys.told("corridor has actions .*int32.* rounded to the nearest integer"):
        env = from_gymnasium(kind, name="corridor")
    step(env, np.array([[[0.7, -0.7]], [[-1.4, 2.6]]]))
    np.testing.assert_array_equal(kind.given, [[1, -1], [-1, 3]])


def test_an_environment_of_ones_own_trains_and_is_flattened():
    env = from_gymnasium(Corridor, name="corridor")
    assert (env.observation_size, env.time_limit) == (2, None)
    _, found = act(env, num_steps=50)
    assert found.truncated.sum() >= 3
    np.testing.assert_array_equal(found.obs[..., 0], 3.0)  # Gymnasium's own order is that of the names


def test_an_exception_ends_the_run_with_its_message_and_its_seed():
    config = rpo_jax.TrainConfig(num_envs=2, num_steps=8, total_timesteps=800, num_minibatches=2, hidden_sizes=())
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
