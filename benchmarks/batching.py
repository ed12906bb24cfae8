"""Is a simulator faster with the batch last in its arrays, or first? And does it compute the same?

Speed: random actions, the batch on one device, either way in turns within one process; medians, and quartiles for the
noise. On a CPU it is the processor's time that counts, since others may use the machine too.

Values: one step of every environment from the same reset, under cheap compile options.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from mujoco_playground import dm_control_suite
from rich.console import Console

from recording import add, device_kind, records
from rpo_jax import Environment
from rpo_jax.diagnosis.stepping import NUDGES, QUICK
from rpo_jax.envs.batching import Batching
from rpo_jax.envs.suites import brax, gymnax, playground
from stepping import stepping
from timing import compiled

STEPS = 32  # of one call
SECONDS = 0.5  # of one measurement, at least
BATCHINGS: tuple[Batching, ...] = ("last", "first")  # "components" is for accelerators
TIMED = {
    **{f"gymnax/{name}": partial(gymnax.make, name) for name in gymnax.TASKS},
    **{f"brax/{name}": partial(brax.make, name) for name in ("inverted_pendulum", "reacher", "hopper", "ant")},
    **{f"brax/hopper, {backend}": partial(brax.make, "hopper", backend) for backend in brax.BACKENDS[1:]},
    **{f"playground/{name}": partial(playground.make, name) for name in ("CartpoleBalance", "ReacherEasy")},
}
Part = Literal["speed", "values"]


def main(
    parts: Annotated[tuple[Part, ...], tyro.conf.Positional] = get_args(Part),
    *,
    envs: Annotated[tuple[str, ...], tyro.conf.arg(help="begin with one of these, such as brax/; all if none")] = (),
    sizes: Annotated[tuple[int, ...], tyro.conf.arg(help="numbers of environments, for speed")] = (128, 1024),
    turns: int = 5,
    again: Annotated[bool, tyro.conf.arg(help="also what is recorded already")] = False,
) -> None:
    """Writes `results/batching.json`, or `batching_gpu.json`, after every measurement; goes on where it was cut."""
    name = "batching" if device_kind() == "cpu" else "batching_gpu"
    for label, measure in measurements(parts, envs, sizes, turns):
        if again or all(run["label"] != label for run in records(name)):
            run = {"label": label, **measure()}
            Console(stderr=True).print(run)
            add(name, run, "label")


def measurements(
    parts: tuple[Part, ...], envs: tuple[str, ...], sizes: tuple[int, ...], turns: int
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Labels, and what measures."""

    def asked(name: str) -> bool:
        return not envs or name.startswith(envs)

    if "speed" in parts:
        for name, make in TIMED.items():
            for size in sizes:
                if asked(name):
                    yield f"speed: {name}, {size}", partial(speed, name, make, size, turns)
    if "values" in parts:
        for name, make in every_environment().items():
            if asked(name):
                yield f"values: {name}", partial(values, name, make)


def speed(name: str, make: Callable[..., Environment], size: int, turns: int) -> dict[str, Any]:
    """Microseconds of a step of so many environments, and what compiling it takes."""
    calls, compiling = {}, {}
    for batching in BATCHINGS if jax.default_backend() == "cpu" else get_args(Batching):
        began = time.perf_counter()
        calls[batching] = compiled(*stepping(make(batching=batching), size, STEPS, 1))
        compiling[batching] = round(time.perf_counter() - began, 1)
        jax.block_until_ready(calls[batching]())
    rounds = [{batching: _seconds(call) for batching, call in calls.items()} for _ in range(turns)]
    measured = {batching: [1e6 / STEPS * seconds[batching] for seconds in rounds] for batching in calls}
    return {
        "part": "speed",
        "env": name,
        "num_envs": size,
        "microseconds": {batching: _rounded(np.median(x)) for batching, x in measured.items()},
        "quartiles": {
            batching: [_rounded(q) for q in np.quantile(x, (0.25, 0.75))] for batching, x in measured.items()
        },
        "compile_seconds": compiling,
    }


def _seconds(call: Callable[[], Any]) -> float:
    """Seconds of a call: a mean over as many as take a while."""
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    count, began = 0, clock()
    while count == 0 or clock() - began < SECONDS:
        jax.block_until_ready(call())
        count += 1
    return (clock() - began) / count


def every_environment() -> dict[str, Callable[..., Environment]]:
    """All that run in JAX, on all backends."""
    backends = {name: ("generalized",) if name == "swimmer" else brax.BACKENDS for name in brax.TASKS}
    return {
        **{f"gymnax/{name}": partial(gymnax.make, name) for name in gymnax.TASKS},
        **{
            f"brax/{name}, {backend}": partial(brax.make, name, backend)
            for name in brax.TASKS
            for backend in backends[name]
        },
        **{f"playground/{name}": partial(playground.make, name) for name in dm_control_suite.ALL_ENVS},
    }


def values(name: str, make: Callable[..., Environment], size: int = 3) -> dict[str, Any]:
    """How far apart the two are after one step, and how far a step from a nudged state is: |x - y| / (1 + |y|)."""
    last, first = (make(batching=batching) for batching in ("last", "first"))
    keys = jax.random.split(jax.random.key(0), size)
    actions = np.random.default_rng(0).uniform(-1, 1, (size, first.action_size)).astype(np.float32)
    state, _ = initial = _quick(first.reset)(keys)
    step, expected_step = (_quick(env.step) for env in (last, first))
    expected = expected_step(keys, state, actions, initial)
    nudged = expected_step(keys, _nudged(state), actions, initial)
    return {
        "part": "values",
        "env": name,
        "step": _apart(step(keys, state, actions, initial), expected),
        "nudged": _apart(nudged, expected),
    }


def _quick(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=QUICK)


def _nudged(state: Any) -> Any:
    random, size = np.random.default_rng(1), NUDGES["cpu"]

    def of(x: jax.Array) -> Any:
        return x * np.float32(1 + size * random.uniform(-1, 1, x.shape)) if x.dtype == np.float32 else x

    return jax.tree.map(of, state)


def _apart(found: Any, expected: Any) -> float:
    """Of all numbers of state, observations and rewards; infinite where one alone is finite."""
    worst = 0.0
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if not jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            x, y = np.asarray(ours, float), np.asarray(theirs, float)
            with np.errstate(invalid="ignore"):
                apart = np.nan_to_num(np.abs(x - y) / (1 + np.abs(y)))
            worst = max(worst, np.where(np.isfinite(x) == np.isfinite(y), apart, np.inf).max(initial=0.0))
    return float(f"{worst:.2g}")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    tyro.cli(main)
