"""Training from the host: segments of updates, between which it reports, evaluates and writes checkpoints."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.envs.host import Ticket
from rpo_jax.errors import SimulatorError
from rpo_jax.execution.checkpoints import Checkpoints, Snapshot, updates_of
from rpo_jax.execution.devices import Spread
from rpo_jax.execution.evaluations import Evaluated, Evaluation, Evaluator
from rpo_jax.execution.identity import identify
from rpo_jax.execution.memory import fit_in_memory, needed_bytes
from rpo_jax.execution.segments import MAX_SEGMENT, Segments, compile_segment, data_of_keys
from rpo_jax.execution.signals import stop_requests
from rpo_jax.execution.sweep import Runs, as_runs

SEGMENT_SECONDS = 0.5


class Progress(NamedTuple):
    """How far a fit has come.

    Attributes:
        updates: rounds done by every run.
        seconds: spent training so far, compilation apart.
        metrics: {name: [H, S, rows]} of the rounds since the last report.
        returns: of an evaluation that follows the last of them [H, S, episodes]; None if none did.
    """

    updates: int
    seconds: float
    metrics: dict[str, np.ndarray]
    returns: np.ndarray | None = None


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
        train_seconds: the rest, but for what evaluations and checkpoints took.
        bytes_per_run: peak device memory of the call, for each of its runs.
        runs_at_once: runs in one call.
        interrupted: whether a signal, or a failure, stopped it before the last update.
        failure: of an environment on the host; None if none failed.
        evaluated: what evaluations found; None if none was asked for.
        evaluate_seconds: that they took, compilation included.
        checkpoint_seconds: that checkpoints took, likewise.
    """

    state: TrainingState
    metrics: dict[str, np.ndarray]
    compile_seconds: float
    train_seconds: float
    bytes_per_run: int
    runs_at_once: int
    interrupted: bool
    failure: Failure | None = None
    evaluated: Evaluated | None = None
    evaluate_seconds: float = 0.0
    checkpoint_seconds: float = 0.0


def fit(
    agent: Agent,
    hyperparams: Hyperparams,
    keys: jax.Array,
    on_progress: Callable[[Progress], Any] = lambda progress: None,
    devices: Sequence[Any] | None = None,
    runs_at_once: int | None = None,
    checkpoints: Checkpoints | None = None,
    evaluation: Evaluation | None = None,
    initial: Policy | None = None,
) -> Fit:
    """Trains every setting with every seed, as `sweep` does, in segments between which the host reports.

    SIGINT (Ctrl-C), SIGTERM and SIGHUP end it after the segment under way, and what was done is returned; where an
    environment on the host fails, what was done before that segment. A second signal ends it at once.

    Args:
        agent: the static part.
        hyperparams: settings with leaves [H], from `grid`, or a single one (H = 1).
        keys: [S], from `seeds`.
        on_progress: called after each segment.
        devices: over which runs are spread; all of the default platform if None.
        runs_at_once: the most in one call, even if memory holds more; in each segment batches take turns.
        checkpoints: written from time to time, and when training is stopped. Where there is one already, training goes
            on from it: bit for bit as if never stopped, but environments on the host begin new episodes.
        evaluation: how to evaluate policies on the way; not at all if None.
        initial: a trained policy that every run begins with, its normalisation included; new ones if None.

    Returns:
        States, metrics, and what it took.

    Raises:
        SettingsError: if `runs_at_once` is not 1 or more, memory does not hold a single run, a checkpoint cannot be
            written or read, or the initial policy does not fit the agent.
    """
    runs = as_runs(hyperparams, keys)
    initial = jax.device_get(initial)  # to whatever devices the runs are on
    agent.env.forget()
    began = time.perf_counter()
    identity = identify(agent, hyperparams, keys, evaluation, initial)
    stored = checkpoints.latest(identity) if checkpoints else None
    if stored and runs_at_once is None:
        runs_at_once = stored.runs_at_once
    spread, program = fit_in_memory(
        agent, runs.count, devices, runs_at_once, partial(compile_segment, runs, initial=initial)
    )
    course = _Course(spread, Segments(spread, program, runs, initial), runs, evaluation)
    if stored:
        course.restore(stored.snapshot(course.blank()))
    course.begin()
    compile_seconds = time.perf_counter() - began

    count, failure = 1, None
    with stop_requests() as stopped:
        try:
            agent.env.check()
            course.evaluate()  # what a failure kept from being done
            while not stopped and course.updates < agent.config.num_updates:
                segment_began = time.perf_counter()
                rows = course.advance(min(count, course.updates_left))
                took = time.perf_counter() - segment_began
                on_progress(Progress(course.updates, course.clock.seconds, rows, course.evaluate()))
                if checkpoints and checkpoints.due():
                    course.save(checkpoints, identity)
                count = max(1, min(int(count * SEGMENT_SECONDS / max(took, 1e-6)), 2 * count, MAX_SEGMENT))
        except SimulatorError as error:
            failure = error
        finally:
            course.segments.close()
        interrupted = course.updates < agent.config.num_updates or failure is not None
        if checkpoints and interrupted and course.updates:
            course.save(checkpoints, identity)
        state = course.segments.state()
        return Fit(
            state=state,
            metrics=course.metrics(),
            compile_seconds=compile_seconds,
            train_seconds=course.clock.seconds,
            bytes_per_run=needed_bytes(program) * len(spread.devices) // spread.num_runs,
            runs_at_once=spread.num_runs,
            interrupted=interrupted,
            failure=None if failure is None else Failure(str(failure), _run_of(failure, state.env_state)),
            evaluated=course.evaluator.found if evaluation else None,
            evaluate_seconds=course.clock.evaluate_seconds,
            checkpoint_seconds=course.clock.checkpoint_seconds,
        )


class _Clock:
    """Seconds spent training, and those of what training waited for."""

    def __init__(self) -> None:
        self.seconds = self.evaluate_seconds = self.checkpoint_seconds = 0.0
        self._began = 0.0

    def start(self) -> None:
        """Training goes on."""
        self._began = time.perf_counter() - self.seconds

    def read(self) -> None:
        """Takes down the seconds trained so far."""
        self.seconds = time.perf_counter() - self._began

    @contextlib.contextmanager
    def pause(self, name: str) -> Iterator[None]:
        """Counts the block's seconds to `evaluate_seconds` or `checkpoint_seconds`."""
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self._began += took
        setattr(self, name, getattr(self, name) + took)


class _Course:
    """How far a fit is: its segments, metrics, evaluations and clock, and snapshots of them."""

    def __init__(self, spread: Spread, segments: Segments, runs: Runs, evaluation: Evaluation | None):
        self._runs, self._num_updates, self._runs_at_once = runs, spread.agent.config.num_updates, spread.num_runs
        self.segments, self.clock, self.updates = segments, _Clock(), 0
        self._rows: list[dict[str, np.ndarray]] = []
        clips = runs.by_setting(runs.hyperparams.observation_clip)[:, 0]
        self.evaluator = Evaluator(evaluation, spread.agent, clips, segments.like.policy)

    def blank(self) -> Snapshot:
        """What a snapshot looks like before the first update."""
        return self._snapshot(jax.eval_shape(data_of_keys, self.segments.like))

    def restore(self, snapshot: Snapshot) -> None:
        """Goes on from a snapshot."""
        if snapshot.runs_at_once != self._runs_at_once:
            logging.getLogger("rpo_jax").warning(
                f"{self._runs_at_once} runs at once, and {snapshot.runs_at_once} when this was written: results may "
                "differ by rounding"
            )
        self._rows, self.updates, self.evaluator.found = [snapshot.metrics], updates_of(snapshot), snapshot.evaluated
        for name in ("seconds", "evaluate_seconds", "checkpoint_seconds"):
            setattr(self.clock, name, getattr(snapshot, name))
        self.segments.restore(snapshot.state)

    def begin(self) -> None:
        """Makes what nothing was restored for, and starts the clock."""
        self.segments.begin(self.updates)
        self.clock.start()

    def advance(self, count: int) -> dict[str, np.ndarray]:
        """Does `count` updates of every run, and gives their metrics; raises as `Segments.advance`."""
        rows = self.segments.advance(count)
        self._rows, self.updates = [*self._rows, rows], self.updates + count
        self.clock.read()
        return rows

    @property
    def updates_left(self) -> int:
        """Until the end or the next evaluation."""
        return min(self._num_updates - self.updates, self.evaluator.updates_left(self.updates))

    def evaluate(self) -> np.ndarray | None:
        """Evaluates the policies of all runs if it is time: their returns [H, S, episodes]."""
        if not self.evaluator.is_due(self.updates):
            return None
        with self.clock.pause("evaluate_seconds"):
            return self.evaluator.evaluate(self.updates, self.segments.policy())

    def save(self, checkpoints: Checkpoints, identity: dict[str, str]) -> None:
        """Writes a checkpoint."""
        with self.clock.pause("checkpoint_seconds"):
            checkpoints.save(self._snapshot(self.segments.data()), identity)

    def metrics(self) -> dict[str, np.ndarray]:
        """Of all updates so far {name: [H, S, updates]}."""
        empty = self._runs.by_setting(np.zeros((self._runs.count, 0), np.float32))
        return {name: np.concatenate([empty, *(row[name] for row in self._rows)], axis=-1) for name in METRICS}

    def _snapshot(self, state: TrainingState) -> Snapshot:
        clock = self.clock
        seconds = clock.seconds, clock.evaluate_seconds, clock.checkpoint_seconds
        return Snapshot(state, self.metrics(), self.evaluator.found, *seconds, self._runs_at_once)


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
