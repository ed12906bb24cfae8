"""EnvPool through the adapter against EnvPool driven directly."""

import sys

import envpool
import jax
import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax import SettingsError, make_env, sweep
from rpo_jax.algorithm.rollout import collect_rollout
from rpo_jax.envs.suites.envpool import EnvPool
from rpo_jax.envs.wrappers import suite_state

# Three observations in a dictionary, a scalar among them, and matrices; float64 and float32; ends of either kind.
IDS = (
    "HopperHop-v1",
    "FishSwim-v1",
    "StackerStack2-v1",
    "PendulumSwingup-v1",
    "Pendulum-v1",
    "BipedalWalker-v3",
    "MountainCarContinuous-v0",
    "Hopper-v4",
    "Ant-v5",
    "Humanoid-v4",
)


def act(env, num_steps, num_envs=3, key=0):
    """Final state and transitions of a random policy."""
    agent = toys.tiny_agent(env=env, num_envs=num_envs, num_steps=num_steps, num_minibatches=1, hidden_sizes=())

    def rollout():
        state = rpo_jax.init(agent, rpo_jax.Hyperparams(), jax.random.key(key))
        state, transition = collect_rollout(agent, state, rpo_jax.Hyperparams(), jax.random.key(1))
        agent.env.close(state.env_state)
        return state, transition

    state, transition = jax.jit(rollout)()
    agent.env.check()
    return state, jax.tree.map(np.asarray, transition)


def flat(obs):
    parts = obs.values() if isinstance(obs, dict) else [obs]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], -1)


@pytest.mark.parametrize("env_id", IDS)
def test_same_seeds_and_actions_give_what_envpool_gives(env_id):
    env = make_env(f"envpool/{env_id}")
    state, found = act(env, num_steps=80)
    pool = envpool.make_gymnasium(env_id, num_envs=3, seed=np.asarray(suite_state(state.env_state).seed).tolist())
    obs, ended = flat(pool.reset()[0]), np.zeros(3, bool)
    assert obs.shape[1] == env.observation_size
    for t, action in enumerate(np.clip(found.action, env.low, env.high)):
        if ended.any():
            first, info = pool.reset(np.flatnonzero(ended).astype(np.int32))
            obs[info["env_id"]] = flat(first)
        np.testing.assert_allclose(found.obs[t], obs, rtol=1e-5, atol=1e-6)
        obs, reward, terminated, truncated, _ = pool.step(action)
        obs, ended = flat(obs), terminated | truncated
        np.testing.assert_allclose(found.final_obs[t], obs, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.reward[t], reward, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.terminated[t], terminated)
        np.testing.assert_array_equal(found.truncated[t], truncated)


def test_a_time_limit_truncates_and_the_step_after_it_is_one():
    env = make_env("envpool/Pendulum-v1")
    _, found = act(env, num_steps=401)
    assert env.time_limit == 200
    at_limit = np.arange(1, 402) % 200 == 0
    np.testing.assert_array_equal(found.truncated, np.repeat(at_limit[:, None], 3, 1))
    assert not found.terminated.any()
    np.testing.assert_array_equal(found.episode_length[:, 0], np.arange(401) % 200 + 1)
    assert (found.reward != 0).all()  # EnvPool's own step after an end gives 0
    np.testing.assert_allclose(found.obs[1:][~at_limit[:-1]], found.final_obs[:-1][~at_limit[:-1]])
    assert not np.isclose(found.obs[200], found.final_obs[199]).all()


def test_a_fall_terminates():
    _, found = act(make_env("envpool/Hopper-v4"), num_steps=200)
    assert found.terminated.any()
    assert not found.truncated.any()


def test_a_seed_has_its_own_stream_wherever_it_lies_in_a_pool():
    sizes = {"position": 6, "velocity": 7, "touch": 2}
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 3, 4)).astype(np.float32)

    def play(seeds, which):
        pool = EnvPool("HopperHop-v1", sizes, None, seeds)
        first = pool.reset()
        steps = [pool.step(action[which]) for action in actions]
        pool.close()
        return first, np.stack([step.obs for step in steps])

    first, obs = play([7, 8, 9], [0, 1, 2])
    for index, seed in enumerate((7, 8, 9)):
        alone = play([seed], [index])
        np.testing.assert_array_equal(alone[0][0], first[index])
        np.testing.assert_array_equal(alone[1][:, 0], obs[:, index])


def test_a_seed_of_a_sweep_is_that_seed_alone():
    agent = toys.tiny_agent(rpo_jax.RPO, make_env("envpool/HopperHop-v1"), updates=2, num_steps=32, hidden_sizes=())
    _, together = sweep(agent, rpo_jax.grid(), rpo_jax.seeds(0, 3))
    _, alone = sweep(agent, rpo_jax.grid(), rpo_jax.seeds(1, 1))
    np.testing.assert_allclose(together["round_reward"][0, 1], alone["round_reward"][0, 0], rtol=1e-3)
    assert len(np.unique(np.asarray(together["value_loss"][0, :, 0]))) == 3


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("HopperHpo-v1", ["HopperHop-v1"]),
        ("CartPole-v1", ["discrete"]),
        ("Pong-v5", ["discrete"]),
        ("CarRacing-v3", ["images"]),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(env_id, words):
    with pytest.raises(SettingsError) as caught:
        make_env(f"envpool/{env_id}")
    assert all(word in str(caught.value) for word in words)


def test_num_threads_is_envpools_and_nobody_elses():
    assert make_env("envpool/Pendulum-v1", num_threads=1).action_size == 1
    with pytest.raises(SettingsError, match="num_threads=0 is out of range"):
        make_env("envpool/Pendulum-v1", num_threads=0)
    with pytest.raises(SettingsError, match="num_threads=2 is for envpool"):
        make_env("brax/ant", num_threads=2)
    with pytest.raises(SettingsError, match="did you mean num_threads"):
        make_env("envpool/Pendulum-v1", num_thread=2)


def test_without_envpool_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(SettingsError, match=r"rpo_jax\[envpool\]"):
        make_env("envpool/Pendulum-v1")
