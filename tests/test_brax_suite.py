"""The Brax adapter against Brax driven directly."""

import functools
import operator
import subprocess
import sys
from typing import Any

import brax.envs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rpo_jax import SettingsError
from rpo_jax.envs import Environment, make_env
from rpo_jax.envs.suites import brax as suite

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
BACKENDS = (None, "positional", "generalized", "mjx")
N, T = 2, 120


@functools.cache
def environment(name: str, backend: str | None = None) -> Environment:
    """Of our adapter."""
    return make_env(f"brax/{name}", backend=backend)


@functools.cache
def adapter(name: str, backend: str | None = None):
    """A compiled `seeds [2], actions [T, N, A] -> obs [2, N, O], timesteps [T, N, ...]` of our adapter.

    Episodes begin by a reset with the first seed, and the next ones by a reset with the second.
    """
    env = environment(name, backend)
    keys = jax.random.split(jax.random.key(2), N)

    def run(seeds, actions):
        states, obs = jax.vmap(lambda seed: env.reset(jax.random.split(jax.random.key(seed), N)))(seeds)
        first, initial = (jax.tree.map(operator.itemgetter(index), (states, obs)) for index in range(2))
        _, timesteps = jax.lax.scan(lambda state, action: env.step(keys, state, action, initial), first[0], actions)
        return obs, timesteps

    return jax.jit(run)


def play(name: str, actions, backend: str | None = None, seed_of_the_next: int = 3):
    """First observations [N, O], those of the next episodes [N, O], and timesteps [T, N, ...] of our adapter."""
    (first, begins), timestep = adapter(name, backend)(np.array([0, seed_of_the_next]), actions)
    return first, begins, timestep


@functools.cache
def brax_itself(name: str, backend: str):
    """The same of Brax without its wrappers, from the same keys: first observation, and obs, reward, done [T, N]."""
    env = brax.envs.get_environment(name, backend=backend)

    def run(actions):
        start = jax.vmap(env.reset)(jax.random.split(jax.random.key(0), N))

        def step(state, action):
            state = jax.vmap(env.step)(state, action)
            state = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), state)
            return state, (state.obs, state.reward, state.done)

        return start.obs, *jax.lax.scan(step, start, actions)[1]

    return jax.jit(run)


def random_actions(name: str):
    size = environment(name).action_size
    return jax.random.uniform(jax.random.key(1), (T, N, size), minval=-1, maxval=1)


@pytest.mark.parametrize("name", NAMES)
def test_every_environment_has_arrays_of_its_sizes(name):
    env = environment(name)
    _, obs = jax.eval_shape(env.reset, jax.random.split(jax.random.key(2), N))
    assert (env.name, env.time_limit) == (f"brax/{name}", 1000)
    assert (obs.shape, obs.dtype) == ((N, env.observation_size), jnp.float32)
    assert (env.low == -np.ones(env.action_size)).all()
    assert (env.high == np.ones(env.action_size)).all()


def test_an_environment_moves_and_stays_finite():  # `benchmarks/batching.py values` steps all of them
    obs, _, timestep = play("hopper", random_actions("hopper"))
    for array in (timestep.obs, timestep.final_obs):
        assert (array.shape, array.dtype) == ((T, *obs.shape), jnp.float32)
    assert (timestep.reward.shape, timestep.reward.dtype) == ((T, N), jnp.float32)
    for ended in (timestep.terminated, timestep.truncated):
        assert (ended.shape, ended.dtype) == ((T, N), bool)
    for array in (obs, *timestep[:2], timestep.final_obs):
        assert np.isfinite(array).all()
    assert not np.allclose(timestep.final_obs[-1], obs)


@pytest.mark.parametrize("name", NAMES)
def test_actions_of_plus_and_minus_one_span_the_actuators(name):
    env = environment(name)
    brax_env: Any = brax.envs.get_environment(name, backend="generalized")
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
        ("inverted_pendulum", "generalized"),
        ("inverted_pendulum", "mjx"),
    ],
)
def test_steps_are_braxs_own(name, backend):
    actions = random_actions(name)
    first, _, timestep = play(name, actions, backend)
    first_expected, obs, reward, done = brax_itself(name, backend or "spring")(actions)
    np.testing.assert_allclose(first, first_expected, rtol=1e-5, atol=1e-6)
    for n in range(N):
        ends = np.flatnonzero(done[:, n])
        until = min(ends[0] + 1 if ends.size else T, 8)  # rounding errors grow from step to step
        np.testing.assert_allclose(timestep.final_obs[:until, n], obs[:until, n], rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(timestep.reward[:until, n], reward[:until, n], rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(timestep.terminated[:until, n], done[:until, n] > 0)
    assert not timestep.truncated.any()


def test_backends_are_different_physics():
    actions = random_actions("inverted_pendulum")
    after_3 = [play("inverted_pendulum", actions, backend)[2].final_obs[2] for backend in BACKENDS]
    for one, other in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3)):
        assert not np.allclose(after_3[one], after_3[other], atol=1e-4)


@pytest.mark.parametrize(("name", "push"), [("inverted_pendulum", 1.0), ("hopper", 0.9)])
def test_a_fall_terminates_where_brax_says_so(name, push):
    actions = jnp.full_like(random_actions(name), push)
    _, obs, reward, done = brax_itself(name, "spring")(actions)
    _, begins, timestep = play(name, actions)
    for n in range(N):
        assert done[:, n].any()
        end = int(np.argmax(done[:, n]))
        assert not timestep.terminated[:end, n].any()
        assert timestep.terminated[end, n]
        assert not timestep.truncated[end, n]
        np.testing.assert_allclose(timestep.final_obs[: end + 1, n], obs[: end + 1, n], rtol=1e-2, atol=1e-2)
        np.testing.assert_allclose(timestep.reward[: end + 1, n], reward[: end + 1, n], rtol=1e-2, atol=1e-2)
        begin = begins[n]
        np.testing.assert_allclose(timestep.obs[end, n], begin, atol=1e-6)
        assert not np.allclose(timestep.final_obs[end, n], begin, atol=1e-2)


def test_an_episode_is_truncated_after_1000_steps():
    *_, timestep = play("fast", jnp.ones((2001, N, 1)))
    at_limit = np.arange(1, 2002) % 1000 == 0
    np.testing.assert_array_equal(timestep.truncated, np.repeat(at_limit[:, None], N, 1))
    assert not timestep.terminated.any()
    assert (timestep.final_obs[999] > 0).all()
    assert (timestep.obs[999] == 0).all()
    np.testing.assert_array_equal(timestep.reward[1000:2000], timestep.reward[:1000])


def test_the_next_episode_starts_where_it_is_told_to():
    fall = jnp.ones((T, N, 1))
    first, *_ = play("inverted_pendulum", fall)

    def next_start(seed):
        *_, timestep = play("inverted_pendulum", fall, seed_of_the_next=seed)
        assert timestep.terminated.any(0).all()
        return np.asarray(timestep.obs)[np.argmax(timestep.terminated, axis=0), np.arange(N)]

    fifth, again, sixth = map(next_start, (5, 5, 6))
    np.testing.assert_array_equal(fifth, again)
    for one, other in ((fifth, first), (fifth, sixth)):
        assert (one != other).all()
    assert (np.abs(fifth) <= 0.01 + 1e-6).all()


def test_the_default_backend_is_spring_and_the_swimmers_generalized(monkeypatch):
    made = []
    get_environment = brax.envs.get_environment

    def record(name, backend):
        made.append((name, backend))
        return get_environment(name, backend=backend)

    monkeypatch.setattr(brax.envs, "get_environment", record)
    for name, backend in (("reacher", None), ("swimmer", None), ("swimmer", "generalized"), ("reacher", "mjx")):
        suite.make.__wrapped__(name, backend)  # pyright: ignore[reportFunctionMemberAccess]
    assert made == [("reacher", "spring"), ("swimmer", "generalized"), ("swimmer", "generalized"), ("reacher", "mjx")]


def test_what_was_traced_of_a_task_serves_all_agents_of_it():
    one, again, other = (make_env("brax/fast", max_episode_steps=steps) for steps in (None, None, 5))
    assert (one.reset, one.step) == (again.reset, again.step)
    assert other.step is not one.step
    with jax.enable_x64(True):
        assert make_env("brax/fast").step is not one.step
    with pytest.raises(SettingsError, match=r"5\.0"):
        make_env("brax/fast", max_episode_steps=5.0)  # equals 5, and is no whole number


def test_construction_is_silent_and_leaves_no_file_behind(tmp_path):
    code = "import rpo_jax; rpo_jax.make_env('brax/halfcheetah')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == []
