"""An environment compiled as users compile it, against the same compiled without XLA's library of fused kernels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.envs import Environment

PLAIN: dict[str, dict[str, Any]] = {"cpu": {"xla_cpu_experimental_ynn_fusion_type": ""}}  # options, by platform
QUICK: dict[str, dict[str, Any]] = {  # to compile
    "cpu": {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True, **PLAIN["cpu"]}
}
SEGMENT = 10  # steps that are compared from one common state on; by then rounding has grown
NUDGE = 1e-6  # relative, of a state: some roundings of float32
ALLOWED = 10.0  # times what a nudge makes; the faults that were met gave 1e2 and more, absolutely


class Apart(NamedTuple):
    """How far two programs of one environment are apart: |x - y| / (1 + |y|), infinite where one alone is finite.

    Attributes:
        first: greatest of one step from a common state, over all environments.
        last: of `SEGMENT` steps from a common state; that which 99% of the environments do not exceed.
    """

    first: float
    last: float


class Differences(NamedTuple):
    """What `compare` finds.

    Attributes:
        reset: greatest difference of the first observations.
        steps: of the program that is tried from the plain one.
        nudged: of the plain one from itself where its states are nudged: contacts make much of little.
    """

    reset: float
    steps: Apart
    nudged: Apart

    @property
    def small(self) -> bool:
        """Whether rounding explains them."""
        first, last = (ALLOWED * nudged for nudged in self.nudged)
        return self.reset < 1e-3 and self.steps.first < 1e-4 + first and self.steps.last < 1e-3 + last


def compare(env: Environment, num_envs: int, num_steps: int, compile: Callable[..., Any] = jax.jit) -> Differences:
    """Plays random actions in segments, each program from the states that the plain one reached.

    Args:
        env: any that is stepped in JAX.
        num_envs: side by side.
        num_steps: of each; a multiple of `SEGMENT`.
        compile: makes the programs that are tried, as users do.
    """
    keys = jax.random.split(jax.random.key(0), num_envs)
    low, high = (np.clip(bound, -1.0, 1.0) for bound in (env.low, env.high))
    actions = np.random.default_rng(0).uniform(low, high, (num_steps, num_envs, env.action_size)).astype(np.float32)

    def play(state: Any, actions: jax.Array, initial: Any) -> tuple[Any, jax.Array]:
        def step(state: Any, action: jax.Array) -> tuple[Any, jax.Array]:
            state, timestep = env.step(keys, state, action, initial)
            return state, jnp.concatenate([timestep.final_obs, timestep.reward[:, None]], -1)

        return jax.lax.scan(step, state, actions)

    tried, plain = compile(play), _compiled(PLAIN, play)
    state, obs = initial = _compiled(QUICK, env.reset)(keys)
    reset = _apart(compile(env.reset)(keys)[1], obs)
    random, apart, nudged = np.random.default_rng(1), [], []
    for part in np.split(actions, num_steps // SEGMENT):
        _, found = tried(state, part, initial)
        _, near = plain(_nudged(state, random), part, initial)
        state, expected = plain(state, part, initial)
        apart.append(_apart(found, expected))
        nudged.append(_apart(near, expected))
    return Differences(float(reset.max()), _summary(np.stack(apart)), _summary(np.stack(nudged)))


def _summary(apart: np.ndarray) -> Apart:
    """Of [segments, SEGMENT, N]."""
    return Apart(float(apart[:, 0].max()), float(np.quantile(apart[:, -1], 0.99, method="lower")))


def _nudged(state: Any, random: np.random.Generator) -> Any:
    def of(x: jax.Array) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return x * (1 + NUDGE * random.uniform(-1, 1, x.shape)).astype(x.dtype)

    return jax.tree.map(of, state)


def _compiled(options: dict[str, dict[str, Any]], function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=options.get(jax.default_backend()))


def _apart(found: Any, expected: Any) -> np.ndarray:
    """Of each environment, [..., N, O] to [..., N]."""
    found, expected = (np.asarray(x, float) for x in (found, expected))
    alike = np.isfinite(found) == np.isfinite(expected)
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - expected) / (1 + np.abs(expected))
    return np.where(alike, np.nan_to_num(apart, nan=0.0), np.inf).max(-1)
