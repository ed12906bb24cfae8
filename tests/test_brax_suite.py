"""The Brax adapter against Brax driven directly."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpo_jax.envs import make_env, record_episodes

NAMES = (
    "ant",
    "fast",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "swimmer",
    "walker2d",
)
N, T = 2, 8


@functools.cache
def play(name: str, backend: str | None = None):
    """Our adapter under random actions: the first observation, timesteps [T, N, ...] and the actions."""
    env = make_env(f"brax/{name}", backend=backend)
    actions = jax.random.uniform(jax.random.key(1), (T, N, env.action_size), minval=-1, maxval=1)

    def run(actions):
        start = env.reset(jax.random.key(0), N)

        def step(carry, action):
            state, timestep = env.step(jax.random.key(2), carry, action)
            return state, timestep

        return start[1], jax.lax.scan(step, start[0], actions)[1]

    return *jax.jit(run)(actions), actions


def play_brax(name: str, backend: str, actions):
    """Brax itself from the same keys, without its wrappers: first observation, then obs, reward, done [T, N]."""
    make_env(f"brax/{name}")  # the shim that the swimmer needs
    import brax.envs

    env = brax.envs.get_environment(name, backend=backend)

    def run(actions):
        start = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), N))

        def step(state, action):
            state = jax.vmap(env.step)(state, action)
            state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)
            return state, (state.obs, state.reward, state.done)

        return start.obs, jax.lax.scan(step, start, actions)[1]

    first, (obs, reward, done) = jax.jit(run)(actions)
    return first, obs, reward, done


@pytest.mark.parametrize("name", NAMES)
def test_every_environment_resets_and_steps(name):
    env = make_env(f"brax/{name}")
    obs, timestep, actions = play(name)
    assert (env.name, env.time_limit) == (f"brax/{name}", 1000)
    assert obs.shape == (N, env.observation_size)
    assert timestep.obs.shape == timestep.final_obs.shape == (T, N, env.observation_size)
    assert timestep.reward.shape == timestep.terminated.shape == timestep.truncated.shape == (T, N)
    assert timestep.terminated.dtype == timestep.truncated.dtype == bool
    for array in (obs, *timestep[:2], timestep.final_obs):
        assert array.dtype == jnp.float32
        assert np.isfinite(array).all()
    assert not np.allclose(timestep.final_obs[-1], obs)
    assert (env.low == -np.ones(actions.shape[-1])).all()
    assert (env.high == np.ones(actions.shape[-1])).all()


@pytest.mark.parametrize("name", NAMES)
def test_actions_of_plus_and_minus_one_span_the_actuators(name):
    env = make_env(f"brax/{name}")
    import brax.envs

    brax_env = brax.envs.get_environment(name, backend="generalized")
    assert env.action_size == brax_env.action_size
    if name in ("fast", "humanoid", "humanoidstandup", "inverted_pendulum", "pusher"):
        return  # Brax scales [-1, 1] to their actuators itself; `fast` has none
    np.testing.assert_array_equal(brax_env.sys.actuator.ctrl_range[:, 0], env.low)
    np.testing.assert_array_equal(brax_env.sys.actuator.ctrl_range[:, 1], env.high)


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("inverted_pendulum", None),
        ("hopper", None),
        ("reacher", None),
        ("swimmer", None),
        ("inverted_pendulum", "positional"),
        ("inverted_pendulum", "generalized"),
        ("inverted_pendulum", "mjx"),
    ],
)
def test_steps_are_braxs_own(name, backend):
    first, timestep, actions = play(name, backend)
    default = "generalized" if name == "swimmer" else "spring"
    first_expected, obs, reward, done = play_brax(name, backend or default, actions)
    np.testing.assert_allclose(first, first_expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(timestep.final_obs, obs, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(timestep.reward, reward, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(timestep.terminated, done > 0)
    assert not timestep.truncated.any()


def test_backends_are_different_physics():
    final = [play("inverted_pendulum", backend)[1].final_obs for backend in (None, "positional", "generalized", "mjx")]
    for one, other in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3)):
        assert not np.allclose(final[one], final[other], atol=1e-4)


@pytest.mark.parametrize(("name", "push", "num_steps"), [("inverted_pendulum", 1.0, 60), ("hopper", 0.9, 150)])
def test_a_fall_terminates_where_brax_says_so(name, push, num_steps):
    env = make_env(f"brax/{name}")
    actions = jnp.full((num_steps, N, env.action_size), push)
    first, obs, reward, done = play_brax(name, "spring", actions)

    def run(actions):
        state, _ = env.reset(jax.random.key(0), N)
        return jax.lax.scan(lambda state, action: env.step(jax.random.key(2), state, action), state, actions)[1]

    timestep = jax.jit(run)(actions)
    for n in range(N):
        assert done[:, n].any()
        end = int(np.argmax(done[:, n]))
        assert not timestep.terminated[:end, n].any()
        assert timestep.terminated[end, n]
        assert not timestep.truncated[end, n]
        np.testing.assert_allclose(timestep.final_obs[: end + 1, n], obs[: end + 1, n], rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(timestep.reward[: end + 1, n], reward[: end + 1, n], rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(timestep.obs[end, n], first[n], atol=1e-6)
        assert not np.allclose(timestep.final_obs[end, n], first[n], atol=1e-2)
        # The new episode goes as the first one did.
        np.testing.assert_allclose(timestep.final_obs[end + 1, n], timestep.final_obs[0, n], atol=1e-4)


def test_an_episode_is_truncated_after_1000_steps():
    env = record_episodes(make_env("brax/fast"))

    def run(state):
        actions = jnp.ones((2001, N, 1))
        return jax.lax.scan(lambda state, action: env.step(jax.random.key(0), state, action), state, actions)[1]

    timestep = jax.jit(run)(env.reset(jax.random.key(0), N)[0])
    at_limit = np.arange(1, 2002) % 1000 == 0
    np.testing.assert_array_equal(timestep.truncated, np.repeat(at_limit[:, None], N, 1))
    assert not timestep.terminated.any()
    assert (timestep.episode_length[999] == 1000).all()
    assert (timestep.final_obs[999] > 0).all()
    assert (timestep.obs[999] == 0).all()
    np.testing.assert_array_equal(timestep.reward[1000:2000], timestep.reward[:1000])


def test_a_refresh_changes_where_the_next_episode_starts():
    env = make_env("brax/inverted_pendulum")
    fall = jnp.ones((40, N, 1))

    def run(key_refresh, refresh):
        state, first = env.reset(jax.random.key(0), N)
        state = jax.tree.map(lambda x, y: jnp.where(refresh, x, y), env.refresh(key_refresh, state), state)
        timestep = jax.lax.scan(lambda state, action: env.step(jax.random.key(2), state, action), state, fall)[1]
        end = jnp.argmax(timestep.terminated, axis=0)
        return first, timestep.terminated.any(), timestep.obs[end, jnp.arange(N)]

    run = jax.jit(run)
    first, fell, same = run(jax.random.key(5), False)
    _, _, fifth = run(jax.random.key(5), True)
    _, _, sixth = run(jax.random.key(6), True)
    assert fell
    np.testing.assert_array_equal(same, first)
    for one, other in ((fifth, first), (sixth, first), (fifth, sixth)):
        assert (one != other).all()
    assert (np.abs(fifth) <= 0.01 + 1e-6).all()


@pytest.mark.parametrize("name", ["ant", "halfcheetah"])
def test_construction_is_silent(name, tmp_path):
    code = f"import rpo_jax; rpo_jax.make_env('brax/{name}')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_construction_leaves_no_file_behind(tmp_path):
    code = "import rpo_jax; rpo_jax.make_env('brax/halfcheetah')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert [path.name for path in tmp_path.iterdir()] == []
