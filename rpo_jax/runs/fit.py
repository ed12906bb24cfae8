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
from rpo_jax.devices import BY_DEVICE, BY_RUN, EVERYWHERE, Spread
from rpo_jax.envs.host import Ticket
from rpo_jax.errors import SimulatorError
from rpo_jax.memory import fit_in_memory, needed_bytes
from rpo_jax.metrics import METRICS, Metrics
from rpo_jax.rpo import init, train_iteration
from rpo_jax.sweep import as_runs, by_setting_and_seed, collect
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


class Failure(NamedTuple):
    """What ended a fit.

    Attributes:
        message: what the environment said.
        run: the indices of its setting and seed; None if they are not known.
    """

    message: str
    run: tuple[int, int] | None


class Fit(NamedTuple):
    """What a fit gives.

    Attributes:
        state: last states, leaves [H, S, ...].
        metrics: {name: [H, S, U]}, one row per update.
        compile_seconds: tracing and compilation.
        train_seconds: the rest.
        bytes_per_run: peak device memory of the call, for each of its runs.
        runs_at_once: runs in one call.
        interrupted: whether the user, or a failure, stopped it before the last update.
        failure: of an environment on the host; None if none failed.
    """

    state: TrainingState
    metrics: dict[str, np.ndarray]
    compile_seconds: float
    train_seconds: float
    bytes_per_run: int
    runs_at_once: int
    interrupted: bool
    failure: Failure | None = None


def fit(
    agent: Agent,
    hyperparams: Hyperparams,
    keys: jax.Array,
    on_progress: Callable[[Progress], Any] = lambda progress: None,
    devices: Sequence[Any] | None = None,
    runs_at_once: int | None = None,
) -> Fit:
    """Trains every setting with every seed, as `sweep` does, in segments between which the host reports.

    An interrupt (Ctrl-C) ends it after the segment under way, and what was done is returned; where an environment on
    the host fails, what was done before that segment.

    Args:
        agent: the static part.
        hyperparams: settings with leaves [H], from `grid`, or a single one (H = 1).
        keys: [S], from `seeds`.
        on_progress: called after each segment.
        devices: over which runs are spread; all of the default platform if None.
        runs_at_once: the most in one call, even if memory holds more; in each segment batches take turns.

    Raises:
        SettingsError: if `runs_at_once` is not 1 or more, or memory does not hold a single run.
    """
    runs = as_runs(hyperparams, keys)
    num_runs = len(runs[1])
    agent.env.forget()

    def compile_for(spread: Spread) -> Any:
        settings, run_keys = spread.placed(runs)
        state = spread.shapes(partial(_init_runs, spread), settings, run_keys)
        return spread.compile(_advance_runs.trace(spread, settings, state, 0))

    began = time.perf_counter()
    spread, advance = fit_in_memory(agent, num_runs, devices, runs_at_once, compile_for)
    batches = spread.place(runs)
    states = jax.block_until_ready([_init_runs(spread, *batch) for batch in batches])
    compile_seconds = time.perf_counter() - began

    rows: list[dict[str, np.ndarray]] = []
    updates, count, interrupted, failure = 0, 1, False, None
    began = time.perf_counter()
    try:
        agent.env.check()
        while updates < agent.config.num_updates:
            segment_began = time.perf_counter()
            following, metrics = zip(
                *(advance(settings, state, count) for (settings, _), state in zip(batches, states, strict=True)),
                strict=True,
            )
            row = _rows(spread, metrics, count, num_runs, len(keys))  # waits for the segment
            agent.env.check()
            # All at once, so that an interrupt leaves all at the same update.
            rows, states, updates = [*rows, row], following, updates + count
            now = time.perf_counter()
            on_progress(Progress(updates, now - began, rows[-1]))
            wanted = int(count * SEGMENT_SECONDS / max(now - segment_began, 1e-6))
            count = max(1, min(wanted, 2 * count, MAX_SEGMENT, agent.config.num_updates - updates))
    except KeyboardInterrupt:
        interrupted = True
    except SimulatorError as error:
        interrupted, failure = True, error
    finally:
        jax.effects_barrier()  # a segment that was cut still steps its environments
        for state in states:
            agent.env.close(state.env_state)
    train_seconds = time.perf_counter() - began
    empty = np.zeros((num_runs // len(keys), len(keys), 0), np.float32)
    state, _ = jax.block_until_ready(collect(spread, [(state, {}) for state in states], num_runs, len(keys)))
    return Fit(
        state=state,
        metrics={name: np.concatenate([empty] + [row[name] for row in rows], axis=-1) for name in METRICS},
        compile_seconds=compile_seconds,
        train_seconds=train_seconds,
        bytes_per_run=needed_bytes(advance) * len(spread.devices) // spread.num_runs,
        runs_at_once=spread.num_runs,
        interrupted=interrupted,
        failure=None if failure is None else Failure(str(failure), _run_of(failure, state.env_state)),
    )


def _run_of(failure: SimulatorError, env_state: Any) -> tuple[int, int] | None:
    """The setting and seed among whose environments [H, S, N] the one that failed is."""
    if failure.index is None:
        return None
    (ticket,) = (x for x in jax.tree.leaves(env_state, is_leaf=_is_ticket) if _is_ticket(x))
    own = np.argwhere(np.asarray(ticket.pool) == failure.pool)  # in the order of the pool
    last = np.asarray(ticket.pool.shape) - 1
    setting, seed, _ = [*own, last][min(failure.index, len(own))]  # what fills up a device is the last run again
    return int(setting), int(seed)


def _is_ticket(x: Any) -> bool:
    return isinstance(x, Ticket)


def _rows(
    spread: Spread, batches: Sequence[Metrics], count: int, num_runs: int, num_seeds: int
) -> dict[str, np.ndarray]:
    """Metrics of a segment's `count` updates {name: [H, S, count]}."""
    parts = [{name: spread.runs(np.asarray(x)[:, :count]) for name, x in metrics.items()} for metrics in batches]
    whole = {name: np.concatenate([part[name] for part in parts])[:num_runs] for name in METRICS}
    return by_setting_and_seed(whole, num_seeds)


@partial(jax.jit, static_argnums=0)
def _init_runs(spread: Spread, runs: Hyperparams, keys: jax.Array) -> TrainingState:
    return spread.map(partial(init, spread.agent), (BY_RUN, BY_RUN), BY_DEVICE)(runs, keys)


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
