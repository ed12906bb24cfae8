"""Suites that step on the host, by a pool in numpy that can be followed by hand."""

import functools
import threading
import time
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import toys
from toys import CountingPool, host_env

import rpo_jax
from rpo_jax import Environment, SimulatorError, evaluate, fit, grid, record, seeds, sweep
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.rollout import collect_rollout
from rpo_jax.algorithm.types import Policy
from rpo_jax.envs.host import Ticket
from rpo_jax.envs.pool import Outcome
from rpo_jax.envs.wrappers import suite_state
from rpo_jax.execution import contexts, waiting
from rpo_jax.execution.fit import _run_of

opened: list[type[CountingPool]] = [CountingPool]


@pytest.fixture(autouse=True)
def _no_pool_stays_open():
    CountingPool.open, CountingPool.steps, CountingPool.begun = [], 0, []
    opened[:] = [CountingPool]
    yield
    jax.effects_barrier()
    assert not CountingPool.open


@functools.cache
def env_of_any_pools() -> Environment:
    return host_env(lambda seeds: opened[0](seeds))


def agent_of(pool: type[CountingPool] = CountingPool, **settings: Any) -> Agent:
    """One agent whose environment opens such pools from now on: what is compiled for one of them serves the others."""
    opened[:] = [pool]
    return toys.tiny_agent(rpo_jax.RPO, env_of_any_pools(), updates=4, **settings)


def six_runs(train: Any, agent: Agent) -> Any:
    """Two settings, three seeds; with one pool, though test_cli may have given this process two devices."""
    return train(agent, grid(rpo_alpha=[0.1, 0.5]), seeds(0, 3), devices=jax.devices()[:1])


@functools.cache
def policy() -> Policy:
    return jax.jit(partial(rpo_jax.init, toys.tiny_agent()))(rpo_jax.Hyperparams(), jax.random.key(0)).policy


def act(agent, key=0):
    state = rpo_jax.init(agent, rpo_jax.Hyperparams(), jax.random.key(key))
    return collect_rollout(agent, state, rpo_jax.Hyperparams(), jax.random.key(1))


def test_a_rollout_is_what_the_pool_gives_by_itself():
    agent = toys.tiny_agent(env=host_env(), num_envs=5, num_steps=20, num_minibatches=5)
    state, rollout = jax.jit(partial(act, agent))()
    pool = CountingPool(np.asarray(suite_state(state.env_state).seed).tolist())
    obs = pool.reset()
    for t, action in enumerate(np.asarray(rollout.action)):
        np.testing.assert_allclose(rollout.obs[t], obs, rtol=1e-6)
        outcome = pool.step(np.clip(action, -1, 1))
        obs = outcome.obs
        for name in ("reward", "terminated", "truncated", "final_obs"):
            np.testing.assert_allclose(getattr(rollout, name)[t], getattr(outcome, name), rtol=1e-5)
    np.testing.assert_allclose(state.obs, obs, rtol=1e-6)
    assert np.asarray(rollout.terminated).any()
    assert np.asarray(rollout.truncated).any()
    assert not np.isin(np.asarray(rollout.final_obs[..., 1]), 0).any()  # a reset is not a step
    pool.close()
    agent.env.close(state.env_state)


def test_all_runs_of_a_sweep_take_one_call_a_step_and_each_is_as_it_is_alone():
    agent = agent_of()
    states, metrics = six_runs(sweep, agent)
    assert CountingPool.steps == 4 * agent.config.num_steps
    _, alone = sweep(agent, grid(rpo_alpha=[0.5]), seeds(2, 1))
    for name, values in metrics.items():
        np.testing.assert_allclose(values[1, 2], alone[name][0, 0], rtol=1e-4, atol=1e-5, err_msg=name)
    assert len(np.unique(suite_state(states.env_state).seed)) > agent.config.num_envs


def test_fit_is_sweep():
    _, expected = six_runs(sweep, agent_of())
    found = six_runs(fit, agent_of())
    for name, values in expected.items():
        np.testing.assert_allclose(found.metrics[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


def test_fit_is_sweep_with_numbers_of_64_bits():
    agent = toys.tiny_agent(env=host_env(), updates=2)
    evaluation = rpo_jax.Evaluation(1, 2, jax.random.key(1))
    with jax.enable_x64(True):
        _, expected = sweep(agent, grid(), seeds(0, 1))
        found = fit(agent, grid(), seeds(0, 1), evaluation=evaluation)
        policy = jax.tree.map(lambda x: x[0, 0], found.state.policy)
        returns = evaluate(agent, policy, evaluation.key, 2)
    assert found.evaluated is not None
    np.testing.assert_array_equal(found.evaluated.returns[0, 0, 0], np.float32(returns))
    for name, values in expected.items():
        np.testing.assert_allclose(found.metrics[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_thread_has_jaxs_settings_of_the_one_that_waits_for_it():
    def settings() -> list[object]:
        return [threading.current_thread(), *(getattr(jax.config, name) for name in contexts.BLOCKS)]

    with jax.enable_x64(True), jax.default_matmul_precision("float32"), jax.default_device(jax.devices()[-1]):
        thread, *theirs = waiting.call(host_env(), settings)
        assert thread is not threading.current_thread()
        assert theirs == settings()[1:]
    assert waiting.call(host_env(), settings)[1:] == settings()[1:]


def test_rounds_that_begin_anew_open_a_pool_each():
    agent = toys.tiny_agent(env=host_env(), updates=3, reset_every_round=True)
    states, metrics = sweep(agent, grid(), seeds(0, 2), devices=jax.devices()[:1])
    assert np.isfinite(np.asarray(metrics["policy_loss"])).all()
    assert len(set(CountingPool.begun)) == 4  # in one place: before the first round, and in each
    assert len(np.unique(suite_state(states.env_state).pool)) == 1


def test_policies_are_evaluated_together_and_recorded():
    agent = agent_of()
    trained = jax.device_get(six_runs(sweep, agent)[0].policy)
    keys = jax.random.split(jax.random.key(5), 3)
    together = jax.vmap(lambda policy, key: evaluate(agent, policy, key, 4))(
        jax.tree.map(lambda x: x[0], trained), keys
    )
    policies = [jax.tree.map(lambda x, i=index: x[0, i], trained) for index in range(3)]
    for policy, key, returns in zip(policies, keys, together, strict=True):
        np.testing.assert_allclose(returns, evaluate(agent, policy, key, 4), rtol=1e-4)
    trajectory = record(agent, policies[0], keys[0], 30)
    assert np.asarray(trajectory.ended).sum() > 3


def test_one_pool_cannot_be_stepped_by_two_policies():
    agent = agent_of()
    trained = jax.device_get(six_runs(sweep, agent)[0].policy)
    with toys.told("cannot be copied or rearranged"):
        jax.vmap(lambda policy: evaluate(agent, policy, jax.random.key(0), 4))(
            jax.tree.map(lambda x: x[0, :2], trained)
        ).block_until_ready()
    with pytest.raises(SimulatorError, match="cannot be copied or rearranged"):
        agent.env.check()
    agent.env.check()


class FailingPool(CountingPool):
    """One of its environments fails at step 20."""

    failing = 2

    def step(self, action: np.ndarray) -> Outcome:
        if CountingPool.steps == 20:
            raise SimulatorError("the leg came off", index=self.failing)
        return super().step(action)


@pytest.mark.parametrize(("index", "run"), [(1, (0, 0)), (4, (0, 1)), (13, (1, 0)), (23, (1, 2))])
def test_a_failure_ends_a_fit_with_what_was_done_and_says_whose_it_was(index, run, monkeypatch):
    monkeypatch.setattr(FailingPool, "failing", index)
    with toys.told("the leg came off"):
        result = six_runs(fit, agent_of(FailingPool))
    assert result.interrupted
    assert result.failure == ("the leg came off", run)  # four environments each
    assert 0 < result.metrics["entropy"].shape[-1] < 4
    assert np.isfinite(result.metrics["entropy"]).all()


def test_a_failure_in_a_round_that_began_anew_is_of_a_run_too():
    agent = toys.tiny_agent(env=host_env(FailingPool), updates=6, num_envs=2, reset_every_round=True)
    with toys.told("the leg came off"):
        result = fit(agent, grid(), seeds(3, 3), devices=jax.devices()[:1])
    assert result.failure == ("the leg came off", (0, 1))
    assert 0 < result.metrics["entropy"].shape[-1] < 6


class SlowPool(CountingPool):
    stepping = False

    def step(self, action: np.ndarray) -> Outcome:
        SlowPool.stepping = True
        time.sleep(0.1)
        outcome = super().step(action)
        SlowPool.stepping = False
        return outcome

    def close(self) -> None:
        assert not SlowPool.stepping
        super().close()


def test_an_interrupt_closes_no_pool_that_is_stepped(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("rpo_jax.execution.segments._metrics", interrupted)  # the first thing that waits for a segment
    agent = agent_of(SlowPool)
    with pytest.raises(KeyboardInterrupt):
        six_runs(fit, agent)
    assert not CountingPool.open
    assert CountingPool.steps >= agent.config.num_steps


class InterruptedPool(CountingPool):
    """Ctrl-C reaches Python inside of it, as where XLA calls from the main thread."""

    def step(self, action: np.ndarray) -> Outcome:
        if CountingPool.steps == 20:
            raise KeyboardInterrupt
        return super().step(action)


@pytest.mark.parametrize("train", [fit, sweep])
def test_an_interrupt_inside_of_a_pool_is_one(train):
    with pytest.raises(KeyboardInterrupt):
        six_runs(train, agent_of(InterruptedPool))


def test_the_runs_that_fill_up_devices_are_the_last_one():
    failure = SimulatorError("the leg came off", index=0)
    failure.pool = 7  # of none that is kept
    ticket = Ticket(pool=np.arange(6).reshape(1, 3, 2), seed=np.zeros((1, 3, 2)))  # pyright: ignore[reportArgumentType]
    assert _run_of(failure, (ticket, 0)) == (0, 2)


def test_a_failure_ends_a_sweep():
    with toys.told("came off"), pytest.raises(SimulatorError, match="came off") as caught:
        six_runs(sweep, agent_of(FailingPool))
    assert caught.value.pool is not None


def test_nothing_that_follows_a_failure_passes_for_a_result_and_new_environments_are_not_concerned():
    agent = agent_of(FailingPool)
    CountingPool.steps = 19
    with toys.told("came off"):
        assert np.isnan(evaluate(agent, policy(), jax.random.key(0), 4)).all()
    CountingPool.steps = -1000
    assert np.isfinite(evaluate(agent, policy(), jax.random.key(0), 4)).all()
    _, metrics = six_runs(sweep, agent)  # though nobody has asked for the failure
    assert np.isfinite(np.asarray(metrics["policy_loss"])).all()


@pytest.mark.parametrize("name", ["sweep", "evaluate", "record"])
def test_an_interrupt_does_not_wait_for_a_simulator_that_hangs(name):
    agent, trained = agent_of(toys.HangingPool), policy()
    uses = {
        "sweep": lambda: six_runs(sweep, agent),
        "evaluate": lambda: evaluate(agent, trained, jax.random.key(0), 4),
        "record": lambda: record(agent, trained, jax.random.key(0), 30),
    }
    with toys.interrupted_while_it_hangs():
        uses[name]()


def test_an_evaluation_can_be_a_part_of_another_program():
    agent, key, trained = agent_of(), jax.random.key(0), policy()
    alone = evaluate(agent, trained, key, 4)
    twice = jax.jit(lambda: 2 * evaluate(agent, trained, key, 4))
    np.testing.assert_allclose(twice(), 2 * alone, rtol=1e-6)
    assert jax.eval_shape(lambda: record(agent, trained, key, 3)).reward.shape == (3,)
    assert "callback" in jax.jit(lambda: evaluate(agent, trained, key, 4)).lower().as_text()


class OddPool(CountingPool):
    def step(self, action: np.ndarray) -> Outcome:
        outcome = super().step(action)
        return outcome._replace(reward=outcome.reward[:, None])

    def close(self) -> None:
        super().close()
        raise OSError("the door is stuck")


def test_a_pool_that_gives_something_else_is_told_what_it_should_give():
    with toys.told("door is stuck|must return"):
        result = six_runs(fit, agent_of(OddPool))
    assert result.failure is not None
    assert result.failure.message == "a pool returned reward of shape (24, 1), and must return (24,)"


class UnableToBegin(CountingPool):
    def reset(self) -> np.ndarray:
        raise ValueError("no license")


def test_what_cannot_begin_ends_before_anything_is_done():
    agent = agent_of(UnableToBegin)
    with toys.told("no license"), pytest.raises(SimulatorError, match="ValueError: no license"):
        six_runs(sweep, agent)
    with toys.told("no license"):
        result = six_runs(fit, agent)
    assert result.failure == ("ValueError: no license", None)
    assert result.metrics["entropy"].shape == (2, 3, 0)


def test_a_time_limit_can_end_the_task_there_too():
    env = rpo_jax.terminate_at_time_limit(host_env())
    agent = toys.tiny_agent(env=env, num_steps=16)
    state, rollout = jax.jit(partial(act, agent))()
    assert not np.asarray(rollout.truncated).any()
    assert np.asarray(rollout.terminated).sum() > 4
    agent.env.close(state.env_state)
