"""Vectorisation, wrappers and `make_env`, on an environment that can be followed by hand."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpo_jax
from rpo_jax import Dynamics, SettingsError, Successor, TrainConfig, environment_names, make_agent, make_env, vectorize
from rpo_jax.envs import record_episodes, terminate_at_time_limit

LIMIT = 4


@functools.cache  # compiled once
def make_walk():
    """Starts at a random x in [0, 1) and walks by the action; ends beyond 3, is cut off after 4 steps."""

    def observe(x, time):
        return jnp.stack([x, time.astype(jnp.float32)])

    def init(key):
        x, time = jax.random.uniform(key), jnp.zeros((), jnp.int32)
        return (x, time), observe(x, time)

    def step(key, state, action):
        x, time = state[0] + action[0], state[1] + 1
        return (x, time), Successor(observe(x, time), 10 * action[0], x > 3, time >= LIMIT)

    bound = np.full(1, 9, np.float32)
    return vectorize(
        Dynamics(init, step), name="toy/walk", observation_size=2, low=-bound, high=bound, time_limit=LIMIT
    )


def keys(seed, num_envs):
    return jax.random.split(jax.random.key(seed), num_envs)


def rollout(env, actions):
    """First observation, and timesteps of `actions` [T, N] as a list; step t is handed the episodes of seed 100 + t."""
    num_envs = actions.shape[1]
    state, first = env.reset(keys(0, num_envs))
    timesteps = []
    for t, action in enumerate(actions):
        initial = env.reset(keys(100 + t, num_envs))
        state, timestep = env.step(keys(t, num_envs), state, jnp.asarray(action)[:, None], initial)
        timesteps.append(timestep)
    return first, timesteps


ACTIONS = np.array([[0.5, 2.5, 0.0], [0.5, 2.5, 0.0], [0.5, 0.1, 0.0], [0.5, 0.1, 3.5], [0.5, 0.1, 0.1]], np.float32)
# Environment 0 is cut off at step 4; 1 goes beyond 3 at step 2; 2 goes beyond 3 at step 4, as the time runs out.


def test_step_gives_the_true_successor_and_goes_on_from_a_new_episode():
    first, steps = rollout(make_walk(), ACTIONS)
    first = np.asarray(first)
    np.testing.assert_allclose(steps[1].final_obs[1], np.array([first[1, 0] + 5, 2]), rtol=1e-6)
    start = np.asarray(steps[1].obs[1])
    np.testing.assert_array_equal(start, make_walk().reset(keys(101, 3))[1][1])
    np.testing.assert_allclose(steps[2].final_obs[1], np.array([start[0] + 0.1, 1]), rtol=1e-6)
    np.testing.assert_allclose(steps[3].final_obs[0], np.array([first[0, 0] + 2, 4]), rtol=1e-6)
    start = np.asarray(steps[3].obs[0])
    np.testing.assert_allclose(steps[4].final_obs[0], np.array([start[0] + 0.5, 1]), rtol=1e-6)
    assert start[1] == 0
    assert start[0] not in first[:, 0]


def test_termination_and_truncation_are_told_apart():
    _, steps = rollout(make_walk(), ACTIONS)
    terminated = np.array([step.terminated for step in steps])
    truncated = np.array([step.truncated for step in steps])
    np.testing.assert_array_equal(np.argwhere(terminated), [[1, 1], [3, 2]])
    np.testing.assert_array_equal(np.argwhere(truncated), [[3, 0], [3, 2]])
    np.testing.assert_array_equal([step.ended for step in steps], terminated | truncated)


def test_rewards_and_observations_pass_through_where_nothing_ends():
    _, steps = rollout(make_walk(), ACTIONS)
    np.testing.assert_allclose([step.reward for step in steps], 10 * ACTIONS, rtol=1e-6)
    for step in steps:
        goes_on = ~np.asarray(step.ended)
        np.testing.assert_array_equal(step.obs[goes_on], step.final_obs[goes_on])


def test_starts_are_draws_of_init_itself():
    env = make_walk()
    expected = jax.vmap(jax.random.uniform)(keys(7, 4))
    np.testing.assert_array_equal(env.reset(keys(7, 4))[1][:, 0], expected)


def test_a_part_of_a_batch_does_as_in_the_whole():
    env = record_episodes(make_walk())

    def play(part):
        state, obs = env.reset(keys(0, 6)[part])
        state, timestep = env.step(keys(1, 6)[part], state, jnp.ones((6, 1))[part], env.reset(keys(2, 6)[part]))
        return obs, timestep

    whole, part = play(slice(None)), play(slice(2, 4))
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[2:4], y), whole, part)


def test_every_environment_steps_with_a_key_of_its_own():
    def step(key, state, action):
        noise = jax.random.uniform(key, (1,))
        return state, Successor(noise, noise[0], jnp.array(False), jnp.array(False))

    bound = np.ones(1, np.float32)
    dynamics = Dynamics(lambda key: (jnp.zeros(()), jnp.zeros(1)), step)
    env = vectorize(dynamics, name="toy/noise", observation_size=1, low=-bound, high=bound)
    initial = env.reset(keys(0, 6))
    one, other = (env.step(keys(seed, 6), initial[0], jnp.zeros((6, 1)), initial)[1].reward for seed in (1, 2))
    assert len(np.unique(np.concatenate([one, other]))) == 12


def test_weakly_typed_states_survive_a_scan():
    def step(key, state, action):
        return state + 1, Successor(jnp.zeros(1), 1.0, state > 5, jnp.array(False))  # pyright: ignore

    bound = np.ones(1, np.float32)
    env = vectorize(
        Dynamics(lambda key: (0, jnp.zeros(1)), step), name="toy/weak", observation_size=1, low=-bound, high=bound
    )
    initial = env.reset(keys(0, 2))
    step_once = lambda state, _: env.step(keys(0, 2), state, jnp.zeros((2, 1)), initial)  # noqa: E731
    state, timestep = jax.lax.scan(step_once, initial[0], length=7)
    np.testing.assert_array_equal(timestep.reward, np.ones((7, 2)))
    np.testing.assert_array_equal(state, [0, 0])


def test_time_limits_can_count_as_terminations():
    env = make_walk()
    (_, plain), (_, ending) = rollout(env, ACTIONS), rollout(terminate_at_time_limit(env), ACTIONS)
    for before, after in zip(plain, ending, strict=True):
        np.testing.assert_array_equal(after.terminated, before.terminated | before.truncated)
        assert after.truncated.dtype == bool
        assert not after.truncated.any()
        np.testing.assert_array_equal(after.obs, before.obs)
        np.testing.assert_array_equal(after.final_obs, before.final_obs)
    assert ending[3].terminated.tolist() == [True, False, True]


def test_episode_statistics_are_sums_within_an_episode():
    _, steps = rollout(record_episodes(make_walk()), ACTIONS)
    np.testing.assert_array_equal(
        [step.episode_length for step in steps], [[1, 1, 1], [2, 2, 2], [3, 1, 3], [4, 2, 4], [1, 3, 1]]
    )
    np.testing.assert_allclose(
        [step.episode_return for step in steps],
        [[5, 25, 0], [10, 50, 0], [15, 1, 0], [20, 2, 35], [5, 3, 1]],
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", ["policy_observation_scale", "value_observation_scale"])
@pytest.mark.parametrize("scale", [(1.0,), (1.0, 1.0, 8.0)])
def test_a_scale_of_another_length_is_an_error(name, scale):
    with pytest.raises(SettingsError, match=rf"{name} has {len(scale)} numbers.* toy/walk have 2"):
        make_agent(make_walk(), config=TrainConfig(**{name: scale}))


def test_wrappers_keep_what_the_environment_says_of_itself():
    env = make_walk()
    for wrapped in (terminate_at_time_limit(env), record_episodes(env)):
        assert (wrapped.name, wrapped.observation_size, wrapped.action_size) == ("toy/walk", 2, 1)
        assert wrapped.time_limit == LIMIT
        np.testing.assert_array_equal(wrapped.high, env.high)


def test_make_env_leaves_the_time_limit_or_makes_it_terminate():
    actions = np.zeros((200, 1), np.float32)
    for time_limit, flags in (("bootstrap", (False, True)), ("terminate", (True, False))):
        env = make_env("gymnax/Pendulum-v1", time_limit=time_limit)

        def last(initial, env=env):
            step = lambda state, a: env.step(keys(0, 1), state, a[:, None], initial)  # noqa: E731
            return jax.tree.map(lambda x: x[-1], jax.lax.scan(step, initial[0], actions)[1])

        timestep = jax.jit(last)(env.reset(keys(0, 1)))
        assert (bool(timestep.terminated[0]), bool(timestep.truncated[0])) == flags


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gymnax/Pendulum", {}, ["gymnax/Pendulum'", "gymnax/Pendulum-v1"]),
        ("gymnax/pendulum-V1", {}, ["gymnax/Pendulum-v1"]),
        ("pendulum", {}, ["'pendulum'", "gymnax/Pendulum-v1"]),
        ("brax/hoper", {}, ["brax/hoper", "brax/hopper"]),
        ("brax/Ant", {}, ["brax/ant"]),
        ("atari/zzzzzzzzzzzz", {}, ["atari/zzzzzzzzzzzz", "gymnax/Pendulum-v1", "brax/walker2d"]),
        ("", {}, ["gymnax/Pendulum-v1", "brax/ant"]),
        ("gymnax/", {}, ["gymnax/"]),
        ("gymnax/CartPole-v1", {}, ["gymnax/CartPole-v1", "discrete", "Pendulum-v1", "Swimmer-misc"]),
        ("gymnax/Pendulum-v1", {"backend": "spring"}, ["backend", "'spring'", "brax"]),
        ("brax/ant", {"backend": "mjz"}, ["mjz", "mjx"]),
        ("brax/ant", {"backend": "warp-drive"}, ["warp-drive", "spring", "positional", "generalized", "mjx"]),
        ("brax/swimmer", {"backend": "spring"}, ["swimmer", "generalized", "spring"]),
        ("gymnax/Pendulum-v1", {"time_limit": "bootstrp"}, ["bootstrp", "bootstrap"]),
        ("brax/ant", {"time_limit": "zzz"}, ["zzz", "bootstrap", "terminate"]),
    ],
)
def test_what_cannot_be_made_is_named_with_what_can(name, options, words):
    with pytest.raises(SettingsError) as caught:
        make_env(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_names_are_listed_by_suite():
    names = environment_names()
    assert list(names) == ["gymnax", "brax"]
    assert {suite: len(ids) for suite, ids in names.items()} == {"gymnax": 5, "brax": 12}
    assert all(name.startswith(f"{suite}/") for suite, ids in names.items() for name in ids)


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_the_package_imports_neither_jax_nor_a_suite():
    code = "import sys, rpo_jax; print({m.partition('.')[0] for m in sys.modules} & {'jax', 'flax', 'gymnax', 'brax'})"
    assert run_python(code) == "set()\n"


@pytest.fixture(scope="module")
def imported():
    """What a process says after it has imported the package, and then a suite."""
    code = """
import sys, rpo_jax
for name in rpo_jax.__all__:
    getattr(rpo_jax, name)
rpo_jax.TrainConfig(), rpo_jax.Hyperparams(), rpo_jax.environment_names(), rpo_jax.get_preset("paper", "brax/ant")
import rpo_jax.cli.main
from jax._src import xla_bridge
print(list(xla_bridge._backends), {"gymnax", "brax", "mujoco", "matplotlib.pyplot"} & set(sys.modules))
rpo_jax.make_env("gymnax/Pendulum-v1")
print({"seaborn", "pandas", "scipy.stats"} & set(sys.modules))
from gymnax.environments.misc import pong
print(len(pong.sns.color_palette("cubehelix", 3)), pong.sns.__name__)
import seaborn
print(seaborn.color_palette is pong.sns.color_palette)
"""
    return run_python(code).splitlines()


def test_no_public_name_starts_a_device_or_imports_a_suite(imported):
    assert imported[0] == "[] set()"


def test_gymnax_is_imported_without_seaborn_which_works_where_it_is_used(imported):
    assert imported[1:] == ["set()", "3 seaborn", "True"]


def test_the_public_names_are_those_of_the_stub():
    assert {"TrainConfig", "Hyperparams", "make_env", "fit", "evaluate", "grid", "seeds"} <= set(dir(rpo_jax))
    assert all(hasattr(rpo_jax, name) for name in dir(rpo_jax))
