"""Times calls of compiled programs, which take turns so that a slow minute of the machine is everyone's."""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from rpo_jax.compiling.jit import compile_traced

SECONDS = 1.0  # of one measurement, at least
TURNS = 5


def compiled(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """A call of a function with these arguments, compiled as training is."""
    return partial(compile_traced(jax.jit(function).trace(*args), jax.default_backend()), *args)


def seconds_in_turns(calls: Mapping[str, Callable[[], Any]], turns: int = TURNS) -> dict[str, float]:
    """Median seconds of each call, by name, compilation apart."""
    for call in calls.values():
        jax.block_until_ready(call())
    measured = [{name: _seconds(call) for name, call in calls.items()} for _ in range(turns)]
    return {name: statistics.median(turn[name] for turn in measured) for name in calls}


def _seconds(call: Callable[[], Any]) -> float:
    """Seconds of a call: a mean over as many as take a while."""
    count, began = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - began < SECONDS:
        jax.block_until_ready(call())
        count += 1
    return (time.perf_counter() - began) / count
