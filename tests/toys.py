"""Small environments whose every number is known, and the settings that the tests train with."""

import contextlib
import dataclasses
import functools
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import compiler

from rpo_jax import PPO, Dynamics, Environment, Hyperparams, Successor, TrainConfig, Variant, make_agent, vectorize
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.heads import HEADS, get_head
from rpo_jax.algorithm.networks import NETWORKS, init_params
from rpo_jax.algorithm.normalization import initial_moments
from rpo_jax.algorithm.types import Batch, Policy
from rpo_jax.algorithm.variants import VARIANTS, get_variant
from rpo_jax.cli import options
from rpo_jax.envs import ENVIRONMENTS, SUITES
from rpo_jax.envs.host import host_environment
from rpo_jax.envs.pool import Outcome
from rpo_jax.execution import waiting
from rpo_jax.execution.fit import Progress
from rpo_jax.execution.signals import SIGNALS
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.settings.spec import RunSpec

# Of the compiler: no optimisation, each program in one piece, and loops by the older emitters, which later versions do
# not have. It takes a fifth of the time.
QUICK: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
    **({"xla_cpu_use_fusion_emitters": False} if version("jaxlib").startswith("0.10.") else {}),
}
LEARNING = QUICK | {"xla_backend_optimization_level": 1}  # for long runs: they take a third, compiling a little more
_options_by_default = compiler.get_compile_options

TINY = {"num_envs": 4, "num_steps": 8, "num_epochs": 2, "num_minibatches": 2, "hidden_sizes": (8,)}


def tiny_config(updates: int = 2, **settings: Any) -> TrainConfig:
    """A configuration of so many rounds, that compiles and runs in little time."""
    settings = TINY | settings
    return TrainConfig(total_timesteps=updates * settings["num_envs"] * settings["num_steps"], **settings)


@functools.cache
def counting_env(low: float = -1.0, high: float = 1.0, action_size: int = 1) -> Environment:
    """Draws `start ~ U(0, 1)`, then counts: obs = (start, t), reward = start + t, ended at t = 3 + floor(5 start).

    Episodes that start below 0.5 terminate there, those above are truncated. Actions do nothing.
    """

    def init(key: jax.Array):
        start = jax.random.uniform(key)
        return (start, jnp.zeros(())), jnp.stack([start, 0.0])

    def step(key: jax.Array, state: Any, action: jax.Array):
        start, t = state
        ended = t + 1 >= 3 + jnp.floor(5 * start)
        obs = jnp.stack([start, t + 1])
        return (start, t + 1), Successor(obs, start + t, ended & (start < 0.5), ended & (start >= 0.5))

    return vectorize(Dynamics(init, step), name="toy/counting", observation_size=2, **bounds(low, high, action_size))


@functools.cache
def reaching_env(time_limit: int = 6) -> Environment:
    """A point on a line: obs = (x, 1), `x += a / 2`, reward `-x^2`; terminated where |x| > 2, truncated in time.

    Its state also holds a matrix, so that axes of environments can be told from others, and an empty one, as MJX's do.
    """
    attributes = {"observation_size": 2, "time_limit": time_limit, **bounds(-1.0, 1.0)}
    return vectorize(reaching_dynamics(time_limit), name="toy/reaching", **attributes)


def reaching_dynamics(time_limit: int = 6) -> Dynamics:
    """One environment of `reaching_env`."""

    def init(key: jax.Array):
        x = jax.random.uniform(key, minval=-1.0)
        return (x, jnp.zeros(()), jnp.full((2, 3), x), jnp.zeros((0, 3))), jnp.stack([x, 1.0])

    def step(key: jax.Array, state: Any, action: jax.Array):
        x, t = state[0] + 0.5 * action[0], state[1] + 1
        return (x, t, state[2] + x * jnp.arange(3), state[3]), Successor(
            jnp.stack([x, 1.0]), -(x**2), jnp.abs(x) > 2, t >= time_limit
        )

    return Dynamics(init, step)


class CountingPool:
    """obs = (start, t), reward = start + t + 10 a; start = seed % 10 + episode / 10; ends at t = 3 + seed % 4."""

    open: Sequence["CountingPool"] = []
    steps = 0
    begun: Sequence[tuple[int, ...]] = []

    def __init__(self, seeds: Sequence[int]):
        self.seeds, self.time, self.episode = np.array(seeds), np.zeros(len(seeds)), np.zeros(len(seeds))
        CountingPool.open = [*CountingPool.open, self]
        CountingPool.begun = [*CountingPool.begun, tuple(seeds)]

    def _obs(self) -> np.ndarray:
        return np.stack([self.seeds % 10 + self.episode / 10, self.time], -1)

    def reset(self) -> np.ndarray:
        return self._obs()

    def step(self, action: np.ndarray) -> Outcome:
        CountingPool.steps += 1
        reward = self._obs().sum(-1) + 10 * action[:, 0]
        self.time += 1
        final_obs, ended = self._obs(), self.time >= 3 + self.seeds % 4
        self.episode, self.time = self.episode + ended, np.where(ended, 0, self.time)
        return Outcome(self._obs(), reward, ended & (self.seeds % 2 == 0), ended & (self.seeds % 2 == 1), final_obs)

    def close(self) -> None:
        CountingPool.open = [pool for pool in CountingPool.open if pool is not self]


class HangingPool(CountingPool):
    """From the step on in which `asked` is set it waits for `answer`, as one that hangs would."""

    hangs = False
    asked, answer = threading.Event(), threading.Event()

    def step(self, action: np.ndarray) -> Outcome:
        if HangingPool.hangs:
            HangingPool.asked.set()
            HangingPool.answer.wait(20)
            HangingPool.hangs = False
        return super().step(action)


@contextlib.contextmanager
def interrupted_while_it_hangs() -> Iterator[None]:
    """Fails unless Ctrl-C, pressed while a `HangingPool` hangs, interrupts the block; then the pool goes on."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def press() -> None:
        HangingPool.asked.wait()
        os.kill(os.getpid(), signal.SIGINT)

    HangingPool.asked.clear()
    HangingPool.answer.clear()
    HangingPool.hangs = True
    threading.Thread(target=press, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
        assert waiting.is_hanging()
        assert handlers == {number: signal.getsignal(number) for number in SIGNALS}
    finally:
        HangingPool.hangs = False
        HangingPool.answer.set()
        while waiting.is_hanging():
            time.sleep(0.05)


def host_env(pool: Any = CountingPool) -> Environment:
    """An environment of such pools."""
    return host_environment(pool, name="toy/host", observation_size=2, time_limit=6, **bounds(-1.0, 1.0))


def bounds(low: float, high: float, action_size: int = 1) -> dict[str, Any]:
    """The same bounds for every action dimension."""
    return {"low": np.full(action_size, low, np.float32), "high": np.full(action_size, high, np.float32)}


def tiny_agent(variant: Variant = PPO, env: Environment | None = None, head: str = "normal", **settings: Any) -> Agent:
    """An agent on `reaching_env` or another; the same one for the same arguments, so that its programs are shared."""
    env = env or reaching_env()
    arguments = id(env), variant, head, tuple(sorted(settings.items()))
    if arguments not in _agents:
        _agents[arguments] = env, new_agent(variant, env, head, **settings)
    return _agents[arguments][1]


def new_agent(variant: Variant = PPO, env: Environment | None = None, head: str = "normal", **settings: Any) -> Agent:
    """One that nobody else has, so that nothing of it has been compiled."""
    return make_agent(env or reaching_env(), variant, tiny_config(**settings), get_head(head))


_agents: dict[Any, tuple[Environment, Agent]] = {}  # an environment that is kept shares its `id` with no other
_agents_of_specs: dict[Any, Agent] = {}


def forget_agents() -> None:
    _agents.clear()
    _agents_of_specs.clear()


@contextlib.contextmanager
def agents_of_specs_shared() -> Iterator[None]:
    """In the block equal descriptions of runs have one agent, so that what was compiled for one run serves others."""
    agents, make = _agents_of_specs, RunSpec.agent

    def agent(self: RunSpec) -> Agent:
        env = self.env if isinstance(self.env, str) else ""
        suite = SUITES.get(env.partition("/")[0])
        make_env = suite.make if suite else ENVIRONMENTS.get(env)
        if make_env is None or self.network != "mlp":
            return make(self)
        names = self.env, self.time_limit, self.backend, self.num_threads, self.env_args, self.config
        key = make_env, get_variant(self.variant), get_head(self.head), repr(names)
        if key not in agents or agents[key].env.on_host:
            agents[key] = make(self)
        return agents[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunSpec, "agent", agent)
        yield


def random_params(agent: Agent, seed: int = 0, scale: float = 0.5) -> Any:
    """Parameters in which nothing is 0 or orthogonal, so that no term of a formula hides."""
    shapes = jax.eval_shape(
        partial(init_params, agent.network), jax.random.key(0), jnp.zeros((1, agent.env.observation_size))
    )
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(scale * random.normal(size=x.shape), jnp.float32), shapes)


def random_policy(agent: Agent) -> Policy:
    """Such parameters, and observations that are not normalised yet."""
    return Policy(random_params(agent), initial_moments((agent.env.observation_size,)))


def random_batch(shape: tuple[int, ...], observation_size: int = 2, action_size: int = 1, seed: int = 1) -> Batch:
    """A batch of independent normal numbers; log-probabilities near those of a standard normal's samples."""
    random = np.random.default_rng(seed)

    def normal(*sizes: int) -> jax.Array:
        return jnp.asarray(random.normal(size=(*shape, *sizes)), jnp.float32)

    action = normal(action_size)
    log_prob = (-0.5 * action**2 - 0.919).sum(-1) + 0.3 * normal()
    return Batch(normal(observation_size), action, log_prob, 2 * normal() + 1, 2 * normal(), normal())


def stack_settings(*settings: Hyperparams) -> Hyperparams:
    """Settings [H] to vmap over."""
    return jax.tree.map(lambda *values: jnp.asarray(values, jnp.float32), *settings)


@contextlib.contextmanager
def told(match: str) -> Iterator[None]:
    """Fails unless the library logs a warning like this in the block; others are let through."""
    messages: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger("rpo_jax"), Keep(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    assert any(re.search(match, message) for message in messages), messages


@contextlib.contextmanager
def stopped_after(updates: int) -> Iterator[None]:
    """A command in the block is stopped by a signal after so many updates, or in the call that trains them."""

    def stop(bar: ProgressBar, progress: Progress) -> None:
        if progress.updates >= updates:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressBar, "__call__", stop)
        yield


def forget_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has imported no module of a user; what was registered comes back after the test."""
    for module in ("own_names", "mine"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    for registry in (ENVIRONMENTS, VARIANTS, HEADS, NETWORKS):
        monkeypatch.setattr(registry, "_registered", {})
        monkeypatch.setattr(registry, "_origins", {})
    library = {field.name for kind in (TrainConfig, Hyperparams) for field in dataclasses.fields(kind)}
    monkeypatch.setattr(options, "_KINDS", {name: kind for name, kind in options._KINDS.items() if name in library})
    monkeypatch.setattr(options, "_shown", {})


def flags(options: dict[str, Any]) -> str:
    """The same for XLA_FLAGS."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())


def environment_of_programs(options: dict[str, Any] = QUICK) -> dict[str, str]:
    """For processes of tests: what they compile has these options, and is kept, since several compile the same."""
    return os.environ | {"XLA_FLAGS": flags(options), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


@contextlib.contextmanager
def compiled_with(options: dict[str, Any]) -> Iterator[None]:
    """What is compiled in the block, by whomever, has these options where it has none of its own.

    JAX has no public setting for that which can be taken back.
    """

    def compile_options(*args: Any, env_options_overrides: dict[str, Any] | None = None, **more: Any) -> Any:
        own = options | (env_options_overrides or {})
        return _options_by_default(*args, env_options_overrides=own, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", compile_options)
        yield
