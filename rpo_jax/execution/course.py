"""The course of a fit: what it has done so far, and how long that took."""

import contextlib
import logging
import time
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.algorithm.types import TrainingState
from rpo_jax.execution import waiting
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.devices import Spread
from rpo_jax.execution.evaluations import Evaluation, Evaluator
from rpo_jax.execution.segments import Segments
from rpo_jax.execution.snapshot import Snapshot, updates_of
from rpo_jax.execution.sweep import Runs
from rpo_jax.keys import data_of_keys


class Clock:
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
        """Adds the time of the block to the attribute `name`, such as `evaluate_seconds`, not to the training time."""
        began = time.perf_counter()
        yield
        took = time.perf_counter() - began
        self._began += took
        setattr(self, name, getattr(self, name) + took)


class Course:
    """The course of a fit: its segments, metrics, evaluations and clock, and snapshots of them."""

    def __init__(
        self, spread: Spread, segments: Segments, runs: Runs, evaluation: Evaluation | None, until: int | None = None
    ):
        """Creates the course before the first update.

        Args:
            spread: distribution of the runs over devices.
            segments: what trains them.
            runs: settings and keys of the runs.
            evaluation: when and how to evaluate; never if None.
            until: number of updates at which it ends; all if None.
        """
        num_updates = spread.agent.config.num_updates
        self._end = num_updates if until is None else min(until, num_updates)
        self._runs, self._runs_at_once = runs, spread.num_runs
        self._env = spread.agent.env
        self.segments, self.clock, self.updates = segments, Clock(), 0
        self._rows: list[dict[str, np.ndarray]] = []
        clips = runs.by_setting(np.asarray(runs.hyperparams.observation_clip))[:, 0]
        self.evaluator = Evaluator(evaluation, spread.agent, clips, segments.like.policy)

    def blank(self) -> Snapshot:
        """Describes the snapshot before the first update: shapes and dtypes."""
        return self._snapshot(jax.eval_shape(data_of_keys, self.segments.like))

    def restore(self, snapshot: Snapshot) -> None:
        """Restores a `snapshot`."""
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
        """Does updates of every run.

        Args:
            count: number of updates.

        Returns:
            Their metrics {name: [H, S, count]}.

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
        return min(max(self._end - self.updates, 0), self.evaluator.updates_left(self.updates))

    def evaluate(self) -> np.ndarray | None:
        """Evaluates the policies of all runs if it is due.

        Returns:
            Returns of the episodes [H, S, episodes]; None if it is not due.
        """
        if not self.evaluator.is_due(self.updates):
            return None
        with self.clock.pause("evaluate_seconds"):
            evaluate = partial(self.evaluator.evaluate, self.updates, self.segments.policy())
            return waiting.call(self._env, evaluate)

    def save(self, checkpoints: Checkpoints, identity: dict[str, str]) -> None:
        """Writes a checkpoint.

        Args:
            checkpoints: where to write it.
            identity: digests of what the fit trains, from `identify`.
        """
        with self.clock.pause("checkpoint_seconds"):
            checkpoints.save(self._snapshot(self.segments.data()), identity)

    def metrics(self) -> dict[str, np.ndarray]:
        """Returns the metrics of all updates so far {name: [H, S, updates]}."""
        empty = self._runs.by_setting(np.zeros((self._runs.count, 0), np.float32))
        return {name: np.concatenate([empty, *(row[name] for row in self._rows)], axis=-1) for name in METRICS}

    def _snapshot(self, state: TrainingState) -> Snapshot:
        """Everything that is needed to resume from a state."""
        clock = self.clock
        seconds = clock.seconds, clock.evaluate_seconds, clock.checkpoint_seconds
        return Snapshot(state, self.metrics(), self.evaluator.found, *seconds, self._runs_at_once)
