"""Training in compiled segments, between which the host reports, evaluates and writes checkpoints."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.envs.host import Ticket
from rpo_jax.errors import SimulatorError
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.course import Course
from rpo_jax.execution.evaluations import Evaluated, Evaluation
from rpo_jax.execution.identity import identify
from rpo_jax.execution.memory import check_evaluation, fit_in_memory, needed_bytes
from rpo_jax.execution.processes import (
    Decision,
    agree,
    check_same,
    is_of_one,
    shared_errors,
    together,
    told_of_loss,
)
from rpo_jax.execution.segments import MAX_SEGMENT, Segments, compile_segment
from rpo_jax.execution.signals import stop_requests
from rpo_jax.execution.snapshot import snapshot_bytes
from rpo_jax.execution.sweep import as_runs
from rpo_jax.keys import as_keys
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
        interrupted: whether a signal, a failure or `on_progress` stopped it before it was complete.
        failure: failure of an environment on the host; None if none failed.
        evaluated: results of the evaluations; None if there were none.
        evaluate_seconds: time of the evaluations including compilation, in seconds.
        checkpoint_seconds: time of the checkpoints, in seconds.
        resumed_from: number of updates of the checkpoint from which training resumed; 0 if there was none.
        stopped_early: whether it was `on_progress` that stopped it.
        identity: digests of what was trained, by name of the part, such as "environment" or "seeds".
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
    resumed_from: int = 0
    stopped_early: bool = False
    identity: Mapping[str, str] = MappingProxyType({})


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
    until: int | None = None,
) -> Fit:
    """Trains every setting with every seed, as `sweep` does, in segments of updates between which it reports progress.

    The signals SIGINT (Ctrl-C), SIGTERM and SIGHUP stop it after the current segment, as `on_progress` does if it
    returns False, and the result so far is returned. If an environment on the host fails, the result before the current
    segment is returned. A second signal has its usual effect. After a signal a script that trains several times goes on
    with the next one, unless it looks at `interrupted` of the result. Any other exception, such as one of
    `on_progress`, is raised after a checkpoint was written.

    Args:
        agent: from `make_agent`.
        hyperparams: settings with leaves [H], from `grid`; or a single setting, so that H = 1.
        keys: random keys of the seeds [S], from `seeds`.
        on_progress: called after each segment, such as a logger from `make_logger`; returns False to stop.
        devices: devices over which runs are sharded; all of the default platform if None. Of cores of a CPU a small run
            takes only as many as make it faster.
        runs_at_once: largest number of runs in one call; as many as fit in memory if None. Every segment trains all
            calls one after another.
        checkpoints: where to write checkpoints at intervals, and when training is stopped; none if None. If there is a
            checkpoint already, training resumes from it. The result is the same, bit for bit, as without the
            interruption, except that environments on the host begin new episodes.
        evaluation: when and how to evaluate the policies during training; never if None.
        initial: trained policy with which every run begins, including its normalisation of observations; a new policy
            for each run if None.
        until: number of updates after which it stops, so that a later call goes on from its checkpoint; all if None.

    Returns:
        The result, of all updates or of those before the interruption.

    Raises:
        SettingsError: if a hyperparameter, the keys or `runs_at_once` cannot be used, a single run or the evaluation
            does not fit in memory, a checkpoint cannot be written or read, or the initial policy does not fit the
            agent.
    """
    options = (devices, runs_at_once, checkpoints, evaluation, initial, until)
    with fitted(agent, hyperparams, keys, on_progress, *options) as result:
        return result


@contextlib.contextmanager
def fitted(
    agent: Agent,
    hyperparams: Hyperparams,
    keys: jax.Array,
    on_progress: Callable[[Progress], object] = lambda progress: None,
    devices: Sequence[Device] | None = None,
    runs_at_once: int | None = None,
    checkpoints: Checkpoints | None = None,
    evaluation: Evaluation | None = None,
    initial: Policy | None = None,
    until: int | None = None,
) -> Iterator[Fit]:
    """Trains as `fit` does, and yields the result before environments are closed, so that it can be written first.

    A signal that arrives in the block is caught as one in training is.

    Args:
        agent: these arguments are those of `fit`.
        hyperparams: settings, leaves [H].
        keys: random keys of the seeds [S].
        on_progress: called after each segment.
        devices: devices over which runs are sharded.
        runs_at_once: largest number of runs in one call.
        checkpoints: where to write checkpoints.
        evaluation: when and how to evaluate.
        initial: trained policy with which every run begins.
        until: number of updates after which it stops.

    Yields:
        The result.
    """
    with told_of_loss(), contextlib.ExitStack() as closing:
        with shared_errors():
            keys = as_keys(keys, 1, "keys")
            runs = as_runs(hyperparams, keys)
            initial = jax.device_get(initial)  # to whatever devices the runs are on
            agent.env.forget()
            if evaluation:
                used = jax.local_devices() if devices is None else devices
                check_evaluation(agent, runs.count, evaluation.num_episodes, used)
            began = time.perf_counter()
            identity = identify(agent, hyperparams, keys, evaluation, initial)
        evaluations = (evaluation.count, evaluation.num_episodes) if evaluation else (0, 0)
        check_same(identity)
        stored = checkpoints and checkpoints.latest(identity, partial(snapshot_bytes, agent, runs.count, *evaluations))
        if stored and runs_at_once is None:
            runs_at_once = stored.runs_at_once
        spread, program = fit_in_memory(
            agent, runs.count, devices, runs_at_once, partial(compile_segment, runs, initial=initial)
        )
        course = Course(spread, Segments(spread, program, runs, initial), runs, evaluation, until)
        if stored:
            course.restore(stored.snapshot(course.blank()))
        course.begin()
        resumed_from = course.updates
        compile_seconds = time.perf_counter() - began

        def save() -> None:
            if checkpoints and course.updates:
                course.save(checkpoints, identity)

        stopped = closing.enter_context(stop_requests())
        closing.callback(course.segments.close)
        try:
            failure, signals = _train(course, agent, on_progress, checkpoints, save, stopped)
            interrupted = course.updates < agent.config.num_updates or failure is not None
            if interrupted:
                save()
            state = course.segments.state()
            result = Fit(
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
                resumed_from=resumed_from,
                stopped_early=interrupted and failure is None and not signals,
                identity=identity,
            )
            with shared_errors():
                yield result
        except BaseException as error:  # of `on_progress`, or while the results are written: what was done is kept
            if not is_of_one(error):
                with contextlib.suppress(Exception):
                    save()
            raise


def _train(
    course: Course,
    agent: Agent,
    on_progress: Callable[[Progress], object],
    checkpoints: Checkpoints | None,
    save: Callable[[], None],
    stopped: Sequence[int],
) -> tuple[SimulatorError | None, int]:
    """Trains until the end, a signal, a word of `on_progress` or the failure of an environment.

    Returns:
        That failure, and the number of signals.
    """
    decision = Decision()
    try:
        together(agent.env.check)
        course.evaluate()  # if a failure or a signal prevented it before
        decision = agree(lambda: Decision(len(stopped)))
        while not decision.stops and course.updates_left:
            count, began = decision.updates, time.perf_counter()
            rows = course.advance(min(count, course.updates_left))
            took = time.perf_counter() - began
            progress = Progress(course.updates, course.clock.seconds, rows, course.evaluate())

            def decide(count: int = count, took: float = took, progress: Progress = progress) -> Decision:
                enough = on_progress(progress) is False
                due = bool(checkpoints) and checkpoints.due()
                more = max(1, min(int(count * SEGMENT_SECONDS / max(took, 1e-6)), 2 * count, MAX_SEGMENT))
                return Decision(len(stopped), enough, due, more)

            decision = agree(decide)
            if decision.save and not decision.stops:
                save()
    except SimulatorError as error:
        if is_of_one(error):
            raise
        return error, decision.signals
    return None, decision.signals


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
