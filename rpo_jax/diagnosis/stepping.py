"""An environment compiled as users and rpo_jax compile it, against the same compiled without XLA's fused kernels."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.compiling.jit import jit
from rpo_jax.envs import Environment

PLAIN = {"xla_cpu_experimental_ynn_fusion_type": ""}  # options of the reference, which is always on a CPU
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True, **PLAIN}  # to compile
COMPILERS = {"by jax.jit": jax.jit, "by rpo_jax": jit}
SEGMENT = 10  # steps that are compared from one common state on; by then rounding has grown
NUDGES = {"cpu": 1e-6}  # relative, of a state: some roundings of float32
NUDGE = 1e-3  # elsewhere, where products may round to TF32 or bfloat16
LEAST, TIMES, MOST = 1e-4, 10.0, 0.1  # what is allowed: that many times what a nudge makes, within these bounds
SHARE = 2e-3  # of rows that may be off by more than `MOST`, beside `MORE` times those that a nudge throws off
MORE = 2.0
FAR = 10.0  # further off a row may be nowhere, but for `TIMES` what a nudge makes


class Apart(NamedTuple):
    """How far two programs of one environment are apart: |x - y| / (1 + |y|), infinite where one alone is finite.

    Contacts make much of little, but seldom twice: for `first` and `last` the median over segments counts of each
    environment, and of these the greatest. So one environment that is always wrong is seen, and one that rounding
    throws over is not. What is wrong now and then is seen by `share` and `worst`.

    Attributes:
        first: of one step from a common state.
        last: of `SEGMENT` steps from a common state.
        broken: environments of which one program alone is finite, at any step.
        share: of all rows, of one environment at one step, those that are further apart than `MOST`.
        worst: the greatest of all rows.
    """

    first: float
    last: float
    broken: int
    share: float
    worst: float


class Differences(NamedTuple):
    """What `compare` finds of one way to compile.

    Attributes:
        reset: greatest difference of the first observations.
        steps: of the program that is tried from the plain one.
        nudged: of the plain one from itself where its states are nudged.
    """

    reset: float
    steps: Apart
    nudged: Apart

    @property
    def wrong(self) -> list[str]:
        """What rounding does not explain; empty if all is right."""
        allowed = [min(MOST, LEAST + TIMES * nudged) for nudged in (0.0, *self.nudged[:2])]
        found = zip(("reset", "one step", "ten steps"), (self.reset, *self.steps[:2]), allowed, strict=True)
        wrong = [f"{name} off by {apart:.0e}, {most:.0e} allowed" for name, apart, most in found if apart > most]
        if (extra := self.steps.broken - self.nudged.broken) > 0:
            wrong.append(f"{extra} environments not finite")
        if self.steps.share > (most := SHARE + MORE * self.nudged.share):
            wrong.append(f"{self.steps.share:.1%} of all rows off, {most:.1%} allowed")
        if self.steps.worst > (most := max(FAR, TIMES * self.nudged.worst)):
            wrong.append(f"a row off by {self.steps.worst:.0e}, {most:.0e} allowed")
        return wrong


def compare(
    env: Environment, num_envs: int, num_steps: int, compilers: Mapping[str, Callable[..., Any]] = COMPILERS
) -> dict[str, Differences]:
    """Plays random actions in segments, each program from the states that the plain one reached; by name of the way.

    Args:
        env: any that is stepped in JAX.
        num_envs: side by side.
        num_steps: of each; a multiple of `SEGMENT`.
        compilers: ways to make programs of functions.
    """
    cpu = jax.local_devices(backend="cpu")[0]
    with jax.default_device(cpu):
        keys = jax.random.split(jax.random.key(0), num_envs)
        plain_reset, plain = _plain(env.reset, QUICK), _plain(_player(env, num_envs), PLAIN)
        state, obs = initial = plain_reset(keys)
    resets = {name: make(env.reset) for name, make in compilers.items()}
    players = {name: make(_player(env, num_envs)) for name, make in compilers.items()}
    resets_apart = {name: _apart(reset(_moved(keys))[1], obs).max() for name, reset in resets.items()}
    apart: dict[str, list[np.ndarray]] = {name: [] for name in (*players, "nudged")}
    random = np.random.default_rng(1)
    for actions in np.split(_random_actions(env, num_envs, num_steps), num_steps // SEGMENT):
        found = {name: play(*_moved((state, actions, initial)))[1] for name, play in players.items()}
        with jax.default_device(cpu):
            found["nudged"] = plain(_nudged(state, random), actions, initial)[1]
            state, expected = plain(state, actions, initial)
        for name, rows in found.items():
            apart[name].append(_apart(rows, expected))
    summaries = {name: _summary(np.stack(segments)) for name, segments in apart.items()}
    return {name: Differences(float(resets_apart[name]), summaries[name], summaries["nudged"]) for name in compilers}


def _player(env: Environment, num_envs: int) -> Callable[..., Any]:
    def play(state: Any, actions: jax.Array, initial: Any) -> tuple[Any, jax.Array]:
        keys = jax.random.split(jax.random.key(1), num_envs)

        def step(state: Any, action: jax.Array) -> tuple[Any, jax.Array]:
            state, timestep = env.step(keys, state, action, initial)
            return state, jnp.concatenate([timestep.final_obs, timestep.reward[:, None]], -1)

        return jax.lax.scan(step, state, actions)

    return play


def _plain(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=options)


def _moved(tree: Any) -> Any:
    """To the device that users compute on."""
    return tree if jax.default_backend() == "cpu" else jax.device_put(tree, jax.local_devices()[0])


def _random_actions(env: Environment, num_envs: int, num_steps: int) -> np.ndarray:
    low, high = (np.clip(bound, -1.0, 1.0) for bound in (env.low, env.high))
    random = np.random.default_rng(0)
    return random.uniform(low, high, (num_steps, num_envs, env.action_size)).astype(np.float32)


def _nudged(state: Any, random: np.random.Generator) -> Any:
    nudge = NUDGES.get(jax.default_backend(), NUDGE)

    def of(x: jax.Array) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return x * (1 + nudge * random.uniform(-1, 1, x.shape)).astype(x.dtype)

    return jax.tree.map(of, state)


def _apart(found: Any, expected: Any) -> np.ndarray:
    """Of each environment, [..., N, O] to [..., N]."""
    found, expected = (np.asarray(x, float) for x in (found, expected))
    alike = np.isfinite(found) == np.isfinite(expected)
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - expected) / (1 + np.abs(expected))
    return np.where(alike, np.nan_to_num(apart, nan=0.0), np.inf).max(-1)


def _summary(apart: np.ndarray) -> Apart:
    """Of [segments, SEGMENT, N]."""
    first, last = (np.quantile(apart[:, step], 0.5, axis=0, method="higher").max() for step in (0, -1))
    broken = int(np.isinf(apart).any((0, 1)).sum())
    return Apart(float(first), float(last), broken, float((apart > MOST).mean()), float(apart.max()))
