"""Training in compiled segments, between which the host reports, evaluates and writes checkpoints."""

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.metrics import METRICS, Metrics
from rpo_jax.algorithm.rpo import init, train_iteration
from rpo_jax.algorithm.types import TrainingState
from rpo_jax.compiling.jit import jit
from rpo_jax.envs.host import Ticket
from rpo_jax.errors import SimulatorError
from rpo_jax.execution.checkpoints import Checkpoints, Snapshot, updates_of
from rpo_jax.execution.devices import BY_DEVICE, BY_RUN, EVERYWHERE, Spread
from rpo_jax.execution.evaluations import Evaluated, Evaluation, Evaluator
from rpo_jax.execution.memory import fit_in_memory, needed_bytes
from rpo_jax.execution.signals import stop_requests
from rpo_jax.execution.sweep import as_runs, by_setting_and_seed, collect
from rpo_jax.typing import Device, PyTree

MAX_SEGMENT = 128  # updates
SEGMENT_SECONDS = 0.5

Runs: TypeAlias = tuple[Hyperparams, jax.Array]
Result = TypeVar("Result")


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

    Returns:
        The result, of all updates or of those before the interruption.

    Raises:
        SettingsError: if a hyperparameter, the keys or `runs_at_once` cannot be used, a single run does not fit in
            memory, or a checkpoint cannot be written or read.
    """
    runs = as_runs(hyperparams, keys)
    agent.env.forget()
    began = time.perf_counter()
    settings = _digest(agent, hyperparams, keys, evaluation)
    stored = checkpoints.latest(settings) if checkpoints else None
    if stored and runs_at_once is None:
        runs_at_once = stored.runs_at_once
    spread, advance = fit_in_memory(agent, len(runs[1]), devices, runs_at_once, partial(_compile, runs))
    course = _Course(spread, advance, runs, len(keys), evaluation)
    if stored:
        course.go_on_from(stored.snapshot(course.blank()))
    course.begin()
    compile_seconds = time.perf_counter() - began

    count, failure = 1, None
    with stop_requests() as stopped:
        try:
            agent.env.check()
            course.evaluate()  # if a failure or a signal prevented it before
            while not stopped and course.updates < agent.config.num_updates:
                segment_began = time.perf_counter()
                row = course.advance(min(count, course.updates_left))
                took = time.perf_counter() - segment_began
                on_progress(Progress(course.updates, course.seconds, row, course.evaluate()))
                if checkpoints and checkpoints.due():
                    course.save(checkpoints, settings)
                count = max(1, min(int(count * SEGMENT_SECONDS / max(took, 1e-6)), 2 * count, MAX_SEGMENT))
        except SimulatorError as error:
            failure = error
        finally:
            course.close()
        interrupted = course.updates < agent.config.num_updates or failure is not None
        if checkpoints and interrupted and course.updates:
            course.save(checkpoints, settings)
        state = course.state()
        return Fit(
            state=state,
            metrics=course.metrics(),
            compile_seconds=compile_seconds,
            train_seconds=course.seconds,
            bytes_per_run=needed_bytes(advance) * len(spread.devices) // spread.num_runs,
            runs_at_once=spread.num_runs,
            interrupted=interrupted,
            failure=None if failure is None else Failure(str(failure), _run_of(failure, state.env_state)),
            evaluated=course.evaluator.found if evaluation else None,
            evaluate_seconds=course.evaluate_seconds,
            checkpoint_seconds=course.checkpoint_seconds,
        )


class _Course:
    """The training state of all runs between segments. In each segment the calls are made one after another."""

    def __init__(
        self,
        spread: Spread,
        program: jax.stages.Compiled,
        runs: Runs,
        num_seeds: int,
        evaluation: Evaluation | None,
    ):
        self._spread, self._program = spread, program
        self._num_runs, self._num_seeds = len(runs[1]), num_seeds
        self._batches = spread.place(runs)
        self._states: list[TrainingState] = []
        self._rows: list[dict[str, np.ndarray]] = []
        self._seconds = self._began = 0.0
        self.updates = 0
        self.evaluate_seconds = self.checkpoint_seconds = 0.0
        self._like = jax.eval_shape(lambda: self._collected(self._initial()))
        clips = by_setting_and_seed(np.asarray(runs[0].observation_clip), num_seeds)[:, 0]
        self.evaluator = Evaluator(evaluation, spread.agent, clips, self._like.policy)

    def blank(self) -> Snapshot:
        """Describes the snapshot before the first update: shapes and dtypes."""
        state = jax.eval_shape(_data_of_keys, self._like)
        return Snapshot(state, self.metrics(), self.evaluator.found, 0.0, 0.0, 0.0, self._spread.num_runs)

    def go_on_from(self, snapshot: Snapshot) -> None:
        """Restores a snapshot."""
        if snapshot.runs_at_once != self._spread.num_runs:
            logging.getLogger("rpo_jax").warning(
                f"{self._spread.num_runs} runs at once, but {snapshot.runs_at_once} when the checkpoint was written: "
                "results may differ by rounding"
            )
        self._rows, self.updates, self._seconds = [snapshot.metrics], updates_of(snapshot), snapshot.seconds
        self.evaluate_seconds, self.checkpoint_seconds = snapshot.evaluate_seconds, snapshot.checkpoint_seconds
        self.evaluator.found = snapshot.evaluated
        states = jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), snapshot.state)
        placed, like = self._spread.place_states(states), jax.eval_shape(self._initial)
        self._states = [_with_keys(*pair, self._batches[0][1]) for pair in zip(placed, like, strict=True)]

    def begin(self) -> None:
        """Initialises the states, or after a restored snapshot only the environments on the host."""
        if not self._states:
            self._states = self._initial()
        elif self._spread.agent.env.on_host:
            pairs = zip(self._states, self._initial(episodes=self.updates), strict=True)
            names = ("env_state", "obs", "discounted_return")
            self._states = [old.replace(**{name: getattr(new, name) for name in names}) for old, new in pairs]
        jax.block_until_ready(self._states)
        self._began = time.perf_counter() - self._seconds

    def advance(self, count: int) -> dict[str, np.ndarray]:
        """Does `count` updates of every run, and returns their metrics {name: [H, S, count]}.

        Raises:
            SimulatorError: if an environment on the host failed; the states are those before the call.
        """
        pairs = zip(self._batches, self._states, strict=True)
        states, metrics = zip(*(self._program(settings, state, count) for (settings, _), state in pairs), strict=True)
        row = _rows(self._spread, metrics, count, self._num_runs, self._num_seeds)  # waits for the segment
        self._spread.agent.env.check()
        self._states, self._rows, self.updates = list(states), [*self._rows, row], self.updates + count
        self._seconds = time.perf_counter() - self._began
        return row

    @property
    def updates_left(self) -> int:
        """The number of updates until the end or the next evaluation."""
        left = self._spread.agent.config.num_updates - self.updates
        return min(left, self.evaluator.updates_left(self.updates))

    @property
    def seconds(self) -> float:
        """Training time so far, in seconds."""
        return self._seconds

    def evaluate(self) -> np.ndarray | None:
        """Evaluates the policies of all runs if it is due; returns [H, S, episodes] or None."""
        if not self.evaluator.is_due(self.updates):
            return None
        own = [state.replace(env_state=None, obs=None, discounted_return=None) for state in self._states]
        returns, took = _timed(lambda: self.evaluator.evaluate(self.updates, self._collected(own).policy))
        self._began += took
        self.evaluate_seconds += took
        return returns

    def save(self, checkpoints: Checkpoints, settings: str) -> None:
        """Writes a checkpoint."""
        _, took = _timed(lambda: checkpoints.save(self.snapshot(), settings))
        self._began += took
        self.checkpoint_seconds += took

    def state(self) -> TrainingState:
        """The states of all runs, leaves [H, S, ...]."""
        return jax.block_until_ready(self._collected(self._states))

    def metrics(self) -> dict[str, np.ndarray]:
        """The metrics of all updates so far {name: [H, S, updates]}."""
        empty = np.zeros((self._num_runs // self._num_seeds, self._num_seeds, 0), np.float32)
        return {name: np.concatenate([empty, *(row[name] for row in self._rows)], axis=-1) for name in METRICS}

    def snapshot(self) -> Snapshot:
        """Everything that is needed to resume from here."""
        state = jax.device_get(_data_of_keys(self.state()))
        seconds = self._seconds, self.evaluate_seconds, self.checkpoint_seconds
        return Snapshot(state, self.metrics(), self.evaluator.found, *seconds, self._spread.num_runs)

    def close(self) -> None:
        """Closes environments on the host."""
        jax.effects_barrier()  # a segment that was interrupted may still be stepping its environments
        for state in self._states:
            self._spread.agent.env.close(state.env_state)

    def _initial(self, episodes: int = 0) -> list[TrainingState]:
        """States before the first update; `episodes` selects different episodes of the same seeds."""
        batches = self._batches
        if episodes:
            batches = [(runs, jax.vmap(jax.random.fold_in, (0, None))(keys, episodes)) for runs, keys in batches]
        return [_init_runs(self._spread, *batch) for batch in batches]

    def _collected(self, states: list[TrainingState]) -> TrainingState:
        return collect(self._spread, [(state, {}) for state in states], self._num_runs, self._num_seeds)[0]


def _digest(agent: Agent, hyperparams: Hyperparams, keys: jax.Array, evaluation: Evaluation | None) -> str:
    """SHA-256 digest of what is trained, as far as the agent shows: a fit resumes from its own checkpoints only."""
    env, numbers = agent.env, [*jax.tree.leaves(hyperparams), jax.random.key_data(keys), agent.env.low, agent.env.high]
    functions = [getattr(function, "__name__", "") for function in (agent.head.family, agent.head.to_env)]
    words = [env.name, env.time_limit, agent.variant.name, *functions, agent.head.squashed]
    if evaluation:
        numbers.append(jax.random.key_data(evaluation.key))
        words += [evaluation.count, evaluation.num_episodes]
    total = hashlib.sha256(repr([*words, dataclasses.asdict(agent.config)]).encode())
    for array in numbers:
        total.update(np.asarray(array).tobytes())
    return total.hexdigest()


def _timed(function: Callable[[], Result]) -> tuple[Result, float]:
    """Calls a function; returns its result and the time it took, in seconds."""
    began = time.perf_counter()
    return function(), time.perf_counter() - began


def _data_of_keys(state: TrainingState) -> TrainingState:
    """Converts random keys of a state to their data."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state)


def _with_keys(state: TrainingState, like: TrainingState, key: jax.Array) -> TrainingState:
    """Inverse of `_data_of_keys`: makes random keys of the same implementation as `key` where `like` has keys."""
    kind = jax.random.key_impl(key)
    return jax.tree.map(lambda x, y: jax.random.wrap_key_data(x, impl=kind) if _is_key(y) else x, state, like)


def _is_key(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


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


def _rows(
    spread: Spread, batches: Sequence[Metrics], count: int, num_runs: int, num_seeds: int
) -> dict[str, np.ndarray]:
    """Gathers the metrics of the `count` updates of a segment {name: [H, S, count]}."""
    parts = [{name: spread.runs(np.asarray(x)[:, :count]) for name, x in metrics.items()} for metrics in batches]
    joined = {name: np.concatenate([part[name] for part in parts])[:num_runs] for name in METRICS}
    return by_setting_and_seed(joined, num_seeds)


@partial(jit, static_argnums=0)
def _init_runs(spread: Spread, runs: Hyperparams, keys: jax.Array) -> TrainingState:
    return spread.map(partial(init, spread.agent), (BY_RUN, BY_RUN), BY_DEVICE)(runs, keys)


def _compile(runs: Runs, spread: Spread) -> jax.stages.Compiled:
    """Compiles a segment. It donates its input states, unless environments on the host may fail and lose them."""
    settings, keys = spread.placed(runs)
    state = spread.shapes(partial(_init_runs, spread), settings, keys)
    advance = _advance_runs if spread.agent.env.on_host else _advance_runs_in_place
    return spread.compile(advance.trace(spread, settings, state, 0))


def _advance(spread: Spread, runs: Hyperparams, state: TrainingState, count: int) -> tuple[TrainingState, Metrics]:
    """Does `count` updates of every run. The count is traced, so that one program serves segments of any length."""

    def do_updates(hyperparams: Hyperparams, state: TrainingState, count: int):
        def body(index, carry):
            state, rows = carry
            state, metrics = train_iteration(spread.agent, hyperparams, state)
            return state, {name: rows[name].at[index].set(metrics[name]) for name in METRICS}

        return jax.lax.fori_loop(0, count, body, (state, {name: jnp.zeros(MAX_SEGMENT) for name in METRICS}))

    return spread.map(do_updates, (BY_RUN, BY_DEVICE, EVERYWHERE), (BY_DEVICE, BY_RUN))(runs, state, count)


_advance_runs = jit(_advance, static_argnums=0)
_advance_runs_in_place = jit(_advance, static_argnums=0, donate_argnums=2)
