"""Compares an environment compiled as users and rpo_jax do with the same compiled without XLA's fused kernels."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.compiling.jit import jit
from rpo_jax.envs import Environment
from rpo_jax.keys import GENERATOR
from rpo_jax.typing import PyTree

Compiler: TypeAlias = Callable[..., Callable[..., Any]]

PLAIN = {"xla_cpu_experimental_ynn_fusion_type": ""}  # options of the reference program, which runs on a CPU
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True, **PLAIN}  # compile fast
COMPILERS: dict[str, Compiler] = {"by jax.jit": jax.jit, "by rpo_jax": jit}
SEGMENT = 10  # steps from a common state that are compared, after which rounding errors have grown
NUDGES = {"cpu": 1e-6}  # relative change of a state: a few rounding errors of float32
NUDGE = 1e-3  # on other platforms, where matrix products may round to TF32 or bfloat16
# A deviation is allowed up to LEAST + TIMES that of a nudged state, but no more than MOST.
LEAST, TIMES, MOST = 1e-4, 10.0, 0.1
# At most SHARE + MORE times the share after a nudge of all rows may deviate by more than MOST.
SHARE = 2e-3
MORE = 2.0
FAR = 10.0  # no row may deviate by more than this and more than TIMES the worst row after a nudge
RESETS = 3  # of each environment; a reset may play until a body rests, with contacts on the way


class Deviation(NamedTuple):
    """How much two programs of one environment differ: |x - y| / (1 + |y|), infinite where only one is finite.

    Contacts can amplify rounding errors in a few segments. So `first` and `last` are the median over segments (or
    over resets) for each environment, and the maximum over environments: an environment that is always wrong counts,
    one that is rarely off does not. Occasional errors show in `share` and `worst`.

    Attributes:
        first: deviation after one step from a common state.
        last: deviation after `SEGMENT` steps from a common state.
        broken: number of environments in which only one program was finite at any step.
        share: share of rows that deviate by more than `MOST`; a row is one environment at one step, or one reset.
        worst: largest deviation of a row.
    """

    first: float
    last: float
    broken: int
    share: float
    worst: float


class Comparison(NamedTuple):
    """A program compared with the reference program.

    Attributes:
        reset: deviation of the first observations.
        steps: deviation of the steps.
        nudged: deviation of the reference program from itself if its states are changed a little, by a nudge.
    """

    reset: Deviation
    steps: Deviation
    nudged: Deviation

    @property
    def wrong(self) -> list[str]:
        """The deviations that rounding does not explain; empty if there are none."""
        return [
            *_unexplained(self.reset, Deviation(0.0, 0.0, 0, 0.0, 0.0), ("reset",), "resets"),
            *_unexplained(self.steps, self.nudged, ("one step", "ten steps"), "rows"),
        ]


def _unexplained(found: Deviation, nudged: Deviation, names: tuple[str, ...], rows: str) -> list[str]:
    """The deviations that those after a nudge do not explain; the medians, `first` and `last`, have names."""
    wrong = []
    for name, error, expected in zip(names, found[:2], nudged[:2], strict=False):
        if error > (most := min(MOST, LEAST + TIMES * expected)):
            wrong.append(f"{name} off by {error:.0e}, {most:.0e} allowed")
    if (extra := found.broken - nudged.broken) > 0:
        wrong.append(f"{rows} of {extra} environments not finite")
    if found.share > (most := SHARE + MORE * nudged.share):
        wrong.append(f"{found.share:.1%} of all {rows} off, {most:.1%} allowed")
    if found.worst > (most := max(FAR, TIMES * nudged.worst)):
        wrong.append(f"one of all {rows} off by {found.worst:.0e}, {most:.0e} allowed")
    return wrong


def compare(
    env: Environment, num_envs: int, num_steps: int, compilers: Mapping[str, Compiler] = COMPILERS
) -> dict[str, Comparison]:
    """Compares programs of an environment with the reference program, for random actions.

    Every segment starts from the state that the reference program has reached.

    Args:
        env: an environment in JAX.
        num_envs: number of environments, N.
        num_steps: number of steps of each; a multiple of `SEGMENT`.
        compilers: functions that compile a function, by name.

    Returns:
        The comparison for each compiler.
    """
    cpu = jax.local_devices(backend="cpu")[0]
    with jax.default_device(cpu):
        keys = [jax.random.split(jax.random.key(seed, impl=GENERATOR), num_envs) for seed in range(RESETS)]
        reference_reset = jax.jit(env.reset, compiler_options=QUICK)
        reference = jax.jit(_make_player(env, num_envs), compiler_options=PLAIN)
        expected_resets = [reference_reset(some) for some in keys]
    pairs = list(zip(keys, expected_resets, strict=True))
    resets = {name: compile(env.reset) for name, compile in compilers.items()}
    players = {name: compile(_make_player(env, num_envs)) for name, compile in compilers.items()}
    reset_errors = {
        name: _summarize(np.stack([_errors(reset(_to_default_device(some))[1], obs)[None] for some, (_, obs) in pairs]))
        for name, reset in resets.items()
    }
    state, _ = initial = expected_resets[0]
    errors: dict[str, list[np.ndarray]] = {name: [] for name in (*players, "nudged")}
    random = np.random.default_rng(1)
    for actions in np.split(_random_actions(env, num_envs, num_steps), num_steps // SEGMENT):
        found = {name: play(*_to_default_device((state, actions, initial)))[1] for name, play in players.items()}
        with jax.default_device(cpu):
            found["nudged"] = reference(_nudge(state, random), actions, initial)[1]
            state, expected = reference(state, actions, initial)
        for name, rows in found.items():
            errors[name].append(_errors(rows, expected))
    deviations = {name: _summarize(np.stack(segments)) for name, segments in errors.items()}
    return {name: Comparison(reset_errors[name], deviations[name], deviations["nudged"]) for name in compilers}


def _make_player(env: Environment, num_envs: int) -> Callable[..., tuple[PyTree, jax.Array]]:
    """Makes a function that plays a segment; its rows [SEGMENT, N, O + 1] are observations and rewards."""

    def play(state: PyTree, actions: jax.Array, initial: PyTree) -> tuple[PyTree, jax.Array]:
        keys = jax.random.split(jax.random.key(1, impl=GENERATOR), num_envs)

        def step(state: PyTree, action: jax.Array) -> tuple[PyTree, jax.Array]:
            state, timestep = env.step(keys, state, action, initial)
            return state, jnp.concatenate([timestep.final_obs, timestep.reward[:, None]], -1)

        return jax.lax.scan(step, state, actions)

    return play


def _to_default_device(tree: PyTree) -> PyTree:
    return tree if jax.default_backend() == "cpu" else jax.device_put(tree, jax.local_devices()[0])


def _random_actions(env: Environment, num_envs: int, num_steps: int) -> np.ndarray:
    low, high = (np.clip(bound, -1.0, 1.0) for bound in (env.low, env.high))
    random = np.random.default_rng(0)
    return random.uniform(low, high, (num_steps, num_envs, env.action_size)).astype(np.float32)


def _nudge(state: PyTree, random: np.random.Generator) -> PyTree:
    """Changes the numbers of a state by a random relative error of the size of rounding."""
    size = NUDGES.get(jax.default_backend(), NUDGE)

    def nudge(x: jax.Array) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return x * (1 + size * random.uniform(-1, 1, x.shape)).astype(x.dtype)

    return jax.tree.map(nudge, state)


def _errors(found: jax.Array, expected: jax.Array) -> np.ndarray:
    """The largest error of the numbers of each environment, [..., N, O] to [..., N]."""
    x, y = (np.asarray(rows, float) for rows in (found, expected))
    alike = np.isfinite(x) == np.isfinite(y)
    with np.errstate(invalid="ignore"):
        errors = np.abs(x - y) / (1 + np.abs(y))
    return np.where(alike, np.nan_to_num(errors, nan=0.0), np.inf).max(-1)


def _summarize(errors: np.ndarray) -> Deviation:
    """Summarises errors [segments, SEGMENT, N], or [RESETS, 1, N] of resets."""
    first, last = (np.quantile(errors[:, step], 0.5, axis=0, method="higher").max() for step in (0, -1))
    broken = int(np.isinf(errors).any((0, 1)).sum())
    return Deviation(float(first), float(last), broken, float((errors > MOST).mean()), float(errors.max()))
