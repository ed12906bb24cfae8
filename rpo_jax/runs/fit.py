"""The host's loop around jitted segments of training."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.agent import Agent
from rpo_jax.config import Hyperparams
from rpo_jax.devices import BY_DEVICE, BY_RUN, EVERYWHERE, Spread, spread_runs
from rpo_jax.metrics import METRICS
from rpo_jax.rpo import init, train_iteration
from rpo_jax.sweep import as_runs, by_setting_and_seed
from rpo_jax.types import TrainingState

MAX_SEGMENT = 128  # updates
SEGMENT_SECONDS = 0.5


class Progress(NamedTuple):
    """How far a fit has come.

    Attributes:
        updates: rounds done by every run.
        seconds: spent training so far, compilation apart.
        metrics: {name: [H, S, rows]} of the rounds since the last report.
    """

    updates: int
    seconds: float
    metrics: dict[str, np.ndarray]


class Fit(NamedTuple):
    """What a fit gives.

    Attributes:
        state: last states, leaves [H, S, ...].
        metrics: {name: [H, S, U]}, one row per update.
        compile_seconds: tracing and compilation.
        train_seconds: the rest.
        interrupted: whether the user stopped it before the last update.
    """

    state: TrainingState
    metrics: dict[str, np.ndarray]
    compile_seconds: float
    train_seconds: float
    interrupted: bool


def fit(
    agent: Agent,
    hyperparams: Hyperparams,
    keys: jax.Array,
    on_progress: Callable[[Progress], Any] = lambda progress: None,
    devices: Sequence[Any] | None = None,
) -> Fit:
    """Trains every setting with every seed, as `sweep` does, in segments between which the host reports.

    An interrupt (Ctrl-C) ends it after the segment under way, and what was done is returned.

    Args:
        agent: the static part.
        hyperparams: settings with leaves [H], from `grid`, or a single one (H = 1).
        keys: [S], from `seeds`.
        on_progress: called after each segment.
        devices: over which runs are spread; all of the default platform if None.
    """
    runs, run_keys = as_runs(hyperparams, keys)
    spread = spread_runs(agent, len(run_keys), devices)
    began = time.perf_counter()
    runs = spread.place(runs)
    state = _init_runs(spread, runs, spread.place(run_keys))
    advance = _advance_runs.lower(spread, runs, state, 0).compile()
    compile_seconds = time.perf_counter() - began

    rows: list[dict[str, np.ndarray]] = []
    updates, count, interrupted = 0, 1, False
    began = time.perf_counter()
    try:
        while updates < agent.config.num_updates:
            segment_began = time.perf_counter()
            following, metrics = advance(runs, state, count)
            rows.append(
                by_setting_and_seed({k: spread.runs(np.asarray(x)[:, :count]) for k, x in metrics.items()}, len(keys))
            )
            state = following  # only with its metrics in hand, so that an interrupt leaves both at the same update
            updates += count
            now = time.perf_counter()
            on_progress(Progress(updates, now - began, rows[-1]))
            wanted = int(count * SEGMENT_SECONDS / max(now - segment_began, 1e-6))
            count = max(1, min(wanted, 2 * count, MAX_SEGMENT, agent.config.num_updates - updates))
    except KeyboardInterrupt:
        interrupted = True
    empty = np.zeros((len(run_keys) // len(keys), len(keys), 0), np.float32)
    metrics = {name: np.concatenate([empty] + [row[name] for row in rows], axis=-1) for name in METRICS}
    state = jax.block_until_ready(_collect(spread, state, len(keys)))
    return Fit(state, metrics, compile_seconds, time.perf_counter() - began, interrupted)


@partial(jax.jit, static_argnums=0)
def _init_runs(spread: Spread, runs: Hyperparams, keys: jax.Array) -> TrainingState:
    return spread.map(partial(init, spread.agent), (BY_RUN, BY_RUN), BY_DEVICE)(runs, keys)


@partial(jax.jit, static_argnums=(0, 2))
def _collect(spread: Spread, state: TrainingState, num_seeds: int) -> TrainingState:
    return by_setting_and_seed(spread.states(state), num_seeds)


@partial(jax.jit, static_argnums=0)
def _advance_runs(spread: Spread, runs: Hyperparams, state: TrainingState, count: int) -> tuple[TrainingState, Any]:
    """`count` rounds of every run; a traced number, so that one program serves segments of any length."""

    def advance(hyperparams: Hyperparams, state: TrainingState, count: int):
        def body(index, carry):
            state, rows = carry
            state, metrics = train_iteration(spread.agent, hyperparams, state)
            return state, {name: rows[name].at[index].set(metrics[name]) for name in METRICS}

        return jax.lax.fori_loop(0, count, body, (state, {name: jnp.zeros(MAX_SEGMENT) for name in METRICS}))

    return spread.map(advance, (BY_RUN, BY_DEVICE, EVERYWHERE), (BY_DEVICE, BY_RUN))(runs, state, count)
