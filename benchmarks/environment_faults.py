"""Faults inside training: a simulator that gives NaN, fails, hangs or crashes, a learning rate that diverges."""

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np

import breaking
import disturbed
from process_faults import Outcome, Outcomes, Process, Whole, go_on, places
from rpo_jax import RPO, Dynamics, Successor, TrainConfig, fit, grid, make_agent, make_env, seeds, vectorize
from rpo_jax.execution import checkpoints, waiting
from rpo_jax.runs.summary import is_finished

CONFIG = TrainConfig(num_envs=8, num_steps=16, total_timesteps=8 * 16 * 20, num_minibatches=4, hidden_sizes=(8, 8))


def not_a_number(scratch: Path) -> Outcomes:
    """A simulator that gives NaN or infinity at random steps, in observation or reward; and how many are counted."""

    def init(key: jax.Array):
        return jnp.zeros((), jnp.int32), jnp.zeros(1)

    while True:
        when, bad = random.randint(2, 40), random.choice([np.nan, np.inf, -np.inf])
        in_obs = random.random() < 0.5

        def step(key: jax.Array, state: Any, action: jax.Array, when=when, bad=bad, in_obs=in_obs):
            given = jnp.where(state + 1 == when, bad, action[0])
            obs, reward = (given, action[0]) if in_obs else (action[0], given)
            return state + 1, Successor(obs[None], reward, jnp.bool_(False), jnp.bool_(False))

        env = vectorize(Dynamics(init, step), name="breaking", **breaking.BOUNDS)
        result = fit(make_agent(env, RPO, CONFIG), grid(), seeds(0, 2))
        steps = CONFIG.num_steps * CONFIG.num_updates
        counted = result.metrics["broken_episodes"].sum(-1)
        sound = all(np.isfinite(x).all() for x in jax.tree.leaves(result.state.policy))
        right = (counted == CONFIG.num_envs * (steps // when)).all()
        yield {"survived": bool(sound and right and np.isfinite(result.metrics["policy_loss"]).all()), "lost": 0}


def diverging(scratch: Path) -> Outcomes:
    """A learning rate of 1e6 among sane ones, which must not notice."""
    agent = make_agent(vectorize(_sliding(), name="slide", **breaking.BOUNDS), RPO, CONFIG)
    while True:
        rates = [10 ** random.uniform(-4, -2) for _ in range(4)]
        where, first_seed = random.randrange(4), random.randrange(1000)
        sane = fit(agent, grid(learning_rate=rates), seeds(first_seed, 2))
        mixed = [1e6 if index == where else rate for index, rate in enumerate(rates)]
        result = fit(agent, grid(learning_rate=mixed), seeds(first_seed, 2))
        others = [index for index in range(4) if index != where]
        same = all(
            np.array_equal(result.metrics[name][others], x[others], equal_nan=True) for name, x in sane.metrics.items()
        )
        held = (np.asarray(result.state.fault)[where] > 0).all() and not np.asarray(result.state.fault)[others].any()
        yield {"survived": bool(same and held), "lost": 0}


def _sliding() -> Dynamics:
    def init(key: jax.Array):
        x = jax.random.uniform(key, (1,))
        return (x, 0), x

    def step(key: jax.Array, state: Any, action: jax.Array):
        x, time = state[0] + 0.1 * action, state[1] + 1
        return (x, time), Successor(x, -jnp.abs(x[0]), jnp.bool_(False), time >= 20)

    return Dynamics(init, step)


def throwing(scratch: Path) -> Outcomes:
    """An environment on the host that throws at a random step; what was done before is kept and gone on with."""
    for index in itertools.count():
        agent = make_agent(make_env(breaking.NAME), RPO, CONFIG)
        when = random.randint(CONFIG.num_steps + 1, CONFIG.num_steps * CONFIG.num_updates)
        breaking.Breaking.steps = 0
        kept = checkpoints.Checkpoints(scratch / str(index), "these", {})
        with patch.dict(os.environ, breaking.at("fail", when, scratch / f"broken{index}")):
            first = fit(agent, grid(), seeds(0, 2), devices=jax.devices()[:1], checkpoints=kept)
        done = first.metrics["entropy"].shape[-1]
        rest = fit(agent, grid(), seeds(0, 2), devices=jax.devices()[:1], checkpoints=kept)
        entropy = rest.metrics["entropy"]
        same = np.array_equal(entropy[..., :done], first.metrics["entropy"])
        told = first.failure is not None and "the leg came off" in first.failure.message
        whole = entropy.shape[-1] == CONFIG.num_updates and bool(np.isfinite(entropy).all())
        yield {"survived": bool(told and same and whole), "lost": (when - 1) // CONFIG.num_steps - done}


def hanging(scratch: Path) -> Outcomes:
    """Runs whose simulator hangs at a random step, and which are then interrupted until they end."""
    whole = Whole(scratch, disturbed.BREAKING)
    for path in places(scratch):
        process, _ = _broken("hang", path)
        interrupt = process.send(signal.SIGINT)

        def press_twice(interrupt: Callable[[], None] = interrupt) -> None:
            interrupt()
            time.sleep(waiting.SECONDS + 1)
            interrupt()

        process.wait(press_twice, process.says("hangs"))
        named = f"still waiting for {disturbed.BREAKING}" in process.complaint
        yield _gone_on(process, path, whole, named)


def crashing(scratch: Path) -> Outcomes:
    """Runs whose simulator ends the process at a random step."""
    whole = Whole(scratch, disturbed.BREAKING)
    for path in places(scratch):
        process, _ = _broken("crash", path)
        process.wait()
        yield _gone_on(process, path, whole, not is_finished(path))


def closing(how: str, scratch: Path) -> Outcomes:
    """Runs whose simulator fails, or is interrupted, while it is closed: after an evaluation or at the end."""
    whole = Whole(scratch, disturbed.BREAKING)
    closings = disturbed.SETTINGS["num_evaluations"] + 1
    for path in places(scratch):
        process, marker = _broken(how, path, f"close {random.randint(1, closings)}")
        process.wait()
        if is_finished(path):
            yield {"survived": marker.exists() and whole.equals(path), "lost": 0}
        else:
            yield _gone_on(process, path, whole, marker.exists())


def _broken(how: str, path: Path, when: str = "") -> tuple[Process, Path]:
    """A process that breaks, at a random step if it is not said when; and the file that it makes then."""
    config, marker = disturbed.spec(disturbed.BREAKING).config, path.with_suffix(".broken")
    when = when or str(random.randint(1, config.num_updates * config.num_steps))
    return Process(path, disturbed.BREAKING, breaking.at(how, when, marker)), marker


def _gone_on(process: Process, path: Path, whole: Whole, told: bool) -> Outcome:
    """What becomes of a run that is resumed: its environments begin new episodes, so only its metrics so far stay."""
    begun = go_on(path, disturbed.BREAKING)
    return {"survived": told and whole.begins(path, begun), "lost": max(process.updates - begun, 0)}
