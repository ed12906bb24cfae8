"""Training in compiled segments, between which the host reports, evaluates and writes checkpoints."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

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
from rpo_jax.typing import Device, PyTree

SEGMENT_SECONDS = 0.5


class Progress(NamedTuple):
    """The progress of a fit, reported after each segment.

    Attributes:
        updates: number of updates of every run so far.
        seconds: training time so far, without compilation, in seconds.
        metrics: metrics of the updates since the last report {name: [H, S, updates]}.
        returns: returns of an evaluation after the last of these updates [H, S, episodes]; None if there was none.
    """

    updates: int
    seconds: float
    metrics: dict[str, np.ndarray]
    returns: np.ndarray | None = None


class Failure(NamedTuple):
    """The failure of an environment that ended a fit.

    Attributes:
        message: error message of the environment.
        run: indices of the setting and the seed of the run that failed; None if unknown.
    """

    message: str
    run: tuple[int, int] | None


class Fit(NamedTuple):
    """The result of a fit.

    Attributes:
        state: last training states, leaves [H, S, ...].
        metrics: {name: [H, S, U]}, one entry per update.
        compile_seconds: time of tracing and compilation, in seconds.
        train_seconds: training time without evaluations and checkpoints, in seconds.
        bytes_per_run: peak device memory of a call, divided by its number of runs.
        runs_at_once: number of runs in one call.
        interrupted: whether a signal or a failure stopped it before it was complete.
        failure: failure of an environment on the host; None if none failed.
        evaluated: results of the evaluations; None if there were none.
        evaluate_seconds: time of the evaluations including compilation, in seconds.
        checkpoint_seconds: time of the checkpoints, in seconds.
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
    on_progress: Callable[[Progress], object] = lambda progress: None,
    devices: Sequence[Device] | None = None,
    runs_at_once: int | None = None,
    checkpoints: Checkpoints | None = None,
    evaluation: Evaluation | None = None,
    initial: Policy | None = None,
) -> Fit:
    """Trains every setting with every seed, as `sweep` does, in segments of updates between which it reports progress.

    The signals SIGINT (Ctrl-C), SIGTERM and SIGHUP stop it after the current segment, and the result so far is
    returned. If an environment on the host fails, the result before the current segment is returned. A second signal
    has its usual effect.

    Args:
        agent: from `make_agent`.
        hyperparams: settings with leaves [H], from `grid`; or a single setting, so that H = 1.
        keys: random keys of the seeds [S], from `seeds`.
        on_progress: called after each segment, such as a logger from `make_logger`.
        devices: devices over which runs are sharded; all of the default platform if None.
        runs_at_once: largest number of runs in one call; as many as fit in memory if None. Every segment trains all
            calls one after another.
        checkpoints: where to write checkpoints at intervals, and when training is stopped; none if None. If there is a
            checkpoint already, training resumes from it. The result is the same, bit for bit, as without the
            interruption, except that environments on the host begin new episodes.
        evaluation: when and how to evaluate the policies during training; never if None.
        initial: trained policy with which every run begins, including its normalisation of observations; a new policy
            for each run if None.

    Returns:
        The result, of all updates or of those before the interruption.

    Raises:
        SettingsError: if a hyperparameter, the keys or `runs_at_once` cannot be used, a single run does not fit in
            memory, a checkpoint cannot be written or read, or the initial policy does not fit the agent.
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
            course.evaluate()  # if a failure or a signal prevented it before
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
    """Measures the time of training, and of what interrupts it."""

    def __init__(self) -> None:
        self.seconds = self.evaluate_seconds = self.checkpoint_seconds = 0.0
        self._began = 0.0

    def start(self) -> None:
        """Starts or resumes the measurement."""
        self._began = time.perf_counter() - self.seconds

    def read(self) -> None:
        """Updates `seconds`, the training time so far."""
        self.seconds = time.perf_counter() - self._began

    @contextlib.contextmanager
    def pause(self, name: str) -> Iterator[None]:
        """Adds the time of the block to `evaluate_seconds` or `checkpoint_seconds` instead of the training time."""
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self._began += took
        setattr(self, name, getattr(self, name) + took)


class _Course:
    """The course of a fit: its segments, metrics, evaluations and clock, and snapshots of them."""

    def __init__(self, spread: Spread, segments: Segments, runs: Runs, evaluation: Evaluation | None):
        self._runs, self._num_updates, self._runs_at_once = runs, spread.agent.config.num_updates, spread.num_runs
        self.segments, self.clock, self.updates = segments, _Clock(), 0
        self._rows: list[dict[str, np.ndarray]] = []
        clips = runs.by_setting(np.asarray(runs.hyperparams.observation_clip))[:, 0]
        self.evaluator = Evaluator(evaluation, spread.agent, clips, segments.like.policy)

    def blank(self) -> Snapshot:
        """Describes the snapshot before the first update: shapes and dtypes."""
        return self._snapshot(jax.eval_shape(data_of_keys, self.segments.like))

    def restore(self, snapshot: Snapshot) -> None:
        """Restores a snapshot."""
        if snapshot.runs_at_once != self._runs_at_once:
            logging.getLogger("rpo_jax").warning(
                f"{self._runs_at_once} runs at once, but {snapshot.runs_at_once} when the checkpoint was written: "
                "results may differ by rounding"
            )
        self._rows, self.updates, self.evaluator.found = [snapshot.metrics], updates_of(snapshot), snapshot.evaluated
        for name in ("seconds", "evaluate_seconds", "checkpoint_seconds"):
            setattr(self.clock, name, getattr(snapshot, name))
        self.segments.restore(snapshot.state)

    def begin(self) -> None:
        """Initialises what was not restored, and starts the clock."""
        self.segments.begin(self.updates)
        self.clock.start()

    def advance(self, count: int) -> dict[str, np.ndarray]:
        """Does `count` updates of every run, and returns their metrics {name: [H, S, count]}.

        Raises:
            SimulatorError: if an environment on the host failed; the states are those before the call.
        """
        rows = self.segments.advance(count)
        self._rows, self.updates = [*self._rows, rows], self.updates + count
        self.clock.read()
        return rows

    @property
    def updates_left(self) -> int:
        """The number of updates until the end or the next evaluation."""
        return min(self._num_updates - self.updates, self.evaluator.updates_left(self.updates))

    def evaluate(self) -> np.ndarray | None:
        """Evaluates the policies of all runs if it is due; returns [H, S, episodes] or None."""
        if not self.evaluator.is_due(self.updates):
            return None
        with self.clock.pause("evaluate_seconds"):
            return self.evaluator.evaluate(self.updates, self.segments.policy())

    def save(self, checkpoints: Checkpoints, identity: dict[str, str]) -> None:
        """Writes a checkpoint."""
        with self.clock.pause("checkpoint_seconds"):
            checkpoints.save(self._snapshot(self.segments.data()), identity)

    def metrics(self) -> dict[str, np.ndarray]:
        """The metrics of all updates so far {name: [H, S, updates]}."""
        empty = self._runs.by_setting(np.zeros((self._runs.count, 0), np.float32))
        return {name: np.concatenate([empty, *(row[name] for row in self._rows)], axis=-1) for name in METRICS}

    def _snapshot(self, state: TrainingState) -> Snapshot:
        """Everything that is needed to resume from a state."""
        clock = self.clock
        seconds = clock.seconds, clock.evaluate_seconds, clock.checkpoint_seconds
        return Snapshot(state, self.metrics(), self.evaluator.found, *seconds, self._runs_at_once)


def _run_of(failure: SimulatorError, env_state: PyTree) -> tuple[int, int] | None:
    """Finds the indices of the setting and the seed of the environment [H, S, N] that failed."""
    if failure.index is None:
        return None
    (ticket,) = (x for x in jax.tree.leaves(env_state, is_leaf=_is_ticket) if _is_ticket(x))
    own = np.argwhere(np.asarray(ticket.pool) == failure.pool)  # in the order of the pool
    last = np.asarray(ticket.pool.shape) - 1
    setting, seed, _ = [*own, last][min(failure.index, len(own))]  # the padding of a device repeats the last run
    return int(setting), int(seed)


def _is_ticket(x: object) -> bool:
    return isinstance(x, Ticket)
