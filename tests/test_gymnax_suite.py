"""The gymnax adapter against gymnax driven directly."""

from functools import cache

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from scipy import stats

from rpo_jax.envs import make_env, record_episodes
from rpo_jax.envs.suites import gymnax as suite

IDS = ("MountainCarContinuous-v0", "Pendulum-v1", "PointRobot-misc", "Reacher-misc", "Swimmer-misc")
LIMITS = {IDS[0]: 999, IDS[1]: 200, IDS[2]: 100, IDS[3]: 100, IDS[4]: 500}
N = 3


def keys(key, num_envs: int = N):
    return jax.random.split(key, num_envs)


@cache
def ours(env_id: str):
    """The environment, once, so that what was compiled for one test serves others."""
    return make_env(f"gymnax/{env_id}")


def drawn(env, t):
    """The initial states that `play` hands to step t."""
    return env.reset(keys(jax.random.fold_in(jax.random.key(3), t)))


@cache
def player(env_id: str, policy):
    env = record_episodes(ours(env_id))

    def step(carry, inputs):
        (state, obs), (t, action) = carry, inputs
        action = policy(action, obs)
        initial = drawn(env, t)
        state, timestep = env.step(keys(jax.random.fold_in(jax.random.key(1), t)), state, action, initial)
        return (state, timestep.obs), (timestep, action)

    def run(actions):
        start = env.reset(keys(jax.random.key(0)))
        return start, *jax.lax.scan(step, start, (jnp.arange(len(actions)), actions))[1]

    return jax.jit(run)


def as_given(action, obs):
    return action


def play(env_id: str, actions, policy=as_given):
    """Our adapter: first state and observation, and the timesteps [T, N, ...] under `policy(action, obs)`."""
    return jax.device_get(player(env_id, policy)(actions))


def play_gymnax(env_id: str, actions):
    """gymnax itself, from the same keys: first observation, then obs, reward, terminated, truncated [T, N]."""
    return jax.device_get(gymnax_player(env_id)(actions))


@cache
def gymnax_player(env_id: str):
    env, params = gymnax.make(env_id)

    def step(state, inputs):
        t, action = inputs
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), t), N)
        obs, state, reward, done, _ = jax.vmap(env.step_env, (0, 0, 0, None))(keys, state, action, params)
        truncated = jax.vmap(env.is_truncated, (0, None))(state, params)
        return jax.tree.map(lambda x: x.astype(x.dtype), state), (obs, reward, done, truncated)

    def strong(x):
        return jax.lax.convert_element_type(x, jnp.asarray(x).dtype)

    def run(actions):
        obs, state = jax.vmap(env.reset_env, (0, None))(jax.random.split(jax.random.key(0), N), params)
        return obs, *jax.lax.scan(step, jax.tree.map(strong, state), (jnp.arange(len(actions)), actions))[1]

    return jax.jit(run)


def random_actions(env_id: str, num_steps: int) -> np.ndarray:
    env = ours(env_id)
    shape = num_steps, N, env.action_size
    return np.random.default_rng(2).uniform(env.low, env.high, shape).astype(np.float32)


def no_actions(env_id: str, num_steps: int) -> np.ndarray:
    return np.zeros((num_steps, N, ours(env_id).action_size), np.float32)


def with_the_velocity(action, obs):
    return jnp.where(obs[:, 1:] >= 0, 1.0, -1.0)


def test_all_continuous_environments_of_gymnax_are_there():
    continuous = []
    for env_id in set(gymnax.registered_envs) - {"MNISTBandit-bsuite"}:  # it downloads images; its actions are digits
        env, params = gymnax.make(env_id)
        if isinstance(env.action_space(params), spaces.Box):
            continuous.append(env_id)
    assert sorted(suite.TASKS) == sorted(continuous) == sorted(IDS)


@pytest.mark.parametrize(("env_id", "limit"), list(LIMITS.items()))
def test_a_whole_episode_is_gymnaxs_own(env_id, limit):
    (_, first), timestep, actions = play(env_id, random_actions(env_id, 2 * limit + 1))
    first_expected, obs, reward, terminated, truncated = play_gymnax(env_id, actions[:limit])
    np.testing.assert_array_equal(first, first_expected)
    assert not terminated.any()
    np.testing.assert_allclose(timestep.final_obs[:limit], obs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(timestep.reward[:limit], reward, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(timestep.terminated[:limit], terminated)
    np.testing.assert_array_equal(timestep.truncated[:limit], truncated)
    np.testing.assert_allclose(timestep.episode_return[limit - 1], reward.sum(0), rtol=1e-3, atol=1e-3)
    # Then a new episode: from the initial states handed to the step, and untouched by its true successor.
    np.testing.assert_allclose(timestep.obs[: limit - 1], timestep.final_obs[: limit - 1], rtol=1e-5, atol=1e-5)
    start = drawn(ours(env_id), limit - 1)[1]
    np.testing.assert_array_equal(timestep.obs[limit - 1], start)
    assert not np.allclose(timestep.final_obs[limit - 1], start)


@pytest.mark.parametrize(("env_id", "limit"), list(LIMITS.items()))
def test_the_time_limit_is_gymnaxs_and_truncates(env_id, limit):
    _, params = gymnax.make(env_id)
    assert limit == params.max_steps_in_episode == ours(env_id).time_limit
    _, timestep, _ = play(env_id, no_actions(env_id, 2 * limit + 1))
    at_limit = np.arange(1, 2 * limit + 2) % limit == 0
    np.testing.assert_array_equal(timestep.truncated, np.repeat(at_limit[:, None], N, 1))
    assert not timestep.terminated.any()
    assert (np.asarray(timestep.episode_length)[at_limit] == limit).all()
    assert (timestep.episode_length[limit] == 1).all()


def test_mountain_car_reaches_its_goal_and_terminates():
    env_id = "MountainCarContinuous-v0"
    _, timestep, actions = play(env_id, no_actions(env_id, LIMITS[env_id]), with_the_velocity)
    _, obs, reward, terminated, _ = play_gymnax(env_id, actions)
    for n in range(N):
        end = int(np.argmax(terminated[:, n]))
        assert 50 < end < 299
        assert timestep.terminated[end, n]
        assert not timestep.terminated[:end, n].any()
        assert not timestep.truncated[: end + 1, n].any()
        assert timestep.reward[end, n] == pytest.approx(100 - 0.1, abs=1e-4)
        assert timestep.final_obs[end, n, 0] >= 0.45
        np.testing.assert_allclose(timestep.final_obs[: end + 1, n], obs[: end + 1, n], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(timestep.reward[: end + 1, n], reward[: end + 1, n], rtol=1e-4, atol=1e-5)
        start = drawn(ours(env_id), end)[1][n]
        np.testing.assert_array_equal(timestep.obs[end, n], start)
        assert timestep.episode_length[end, n] == end + 1
        assert timestep.episode_length[end + 1, n] == 1


@pytest.mark.parametrize("env_id", IDS)
def test_bounds_and_sizes_are_those_of_gymnaxs_spaces(env_id):
    own = ours(env_id)
    env, params = gymnax.make(env_id)
    action, observation = env.action_space(params), env.observation_space(params)
    assert own.name == f"gymnax/{env_id}"
    assert (own.observation_size,) == observation.shape
    assert (own.action_size,) == action.shape == own.low.shape == own.high.shape
    np.testing.assert_array_equal(own.low, np.broadcast_to(action.low, action.shape))
    np.testing.assert_array_equal(own.high, np.broadcast_to(action.high, action.shape))
    assert own.reset(keys(jax.random.key(0)))[1].shape == (N, *observation.shape)


def test_pendulum_and_mountain_car_have_the_known_bounds():
    pendulum, car = make_env("gymnax/Pendulum-v1"), make_env("gymnax/MountainCarContinuous-v0")
    assert (pendulum.low.tolist(), pendulum.high.tolist(), pendulum.observation_size) == ([-2], [2], 3)
    assert (car.low.tolist(), car.high.tolist(), car.observation_size) == ([-1], [1], 2)


DRAWS = {  # of states [..., N]
    "MountainCarContinuous-v0": lambda state: [(state.position, -0.6, -0.4)],
    "Pendulum-v1": lambda state: [(state.theta, -np.pi, np.pi), (state.theta_dot, -1, 1)],
    "PointRobot-misc": lambda state: [(np.arctan2(state.goal[1], state.goal[0]), 0, np.pi)],
    "Reacher-misc": lambda state: [
        (state.angles[0], -np.pi, np.pi),
        (state.angle_vels[1], -1, 1),
        (state.goal_xy[0], -2, 2),
    ],
    "Swimmer-misc": lambda state: [
        (state.urchin_xys[4, 1], -1, 1),
        (state.xy[0], -1, 1),
        (state.goal_xy[1], -1, 1),
    ],
}


@pytest.mark.parametrize("env_id", IDS)
def test_episodes_start_from_gymnaxs_distribution(env_id):
    env = ours(env_id)
    state, obs = jax.device_get(env.reset(keys(jax.random.key(3), 2000)))
    drawn, drawn_obs = jax.device_get(env.reset(keys(jax.random.key(4), 2000)))
    for initial in (state, drawn):
        for values, low, high in DRAWS[env_id](initial):
            assert values.shape == (2000,)
            assert low <= values.min() < values.max() <= high
            assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert not np.isclose(obs, drawn_obs).all(-1).any()
