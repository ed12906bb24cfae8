"""A session: how a process trains runs, and the progress bar and loggers that follow them."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from rpo_jax.errors import SettingsError, described
from rpo_jax.execution.checkpoints import LEAST_SECONDS, SHARE
from rpo_jax.execution.fit import Progress
from rpo_jax.loggers import make_logger
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.settings.spec import RunSpec, setting_labels

LOG = logging.getLogger("rpo_jax")


class Session(NamedTuple):
    """How this process trains runs and shows it; results do not depend on it, but for rounding by `runs_at_once`.

    Attributes:
        console: console on which progress is shown.
        runs_at_once: maximum number of runs trained in one call; as many as fit into memory if None.
        loggers: names of the loggers that follow training.
        on_progress: called after each segment, after the progress bar and the loggers; returns False to stop.
        checkpoint_seconds: least number of seconds between two checkpoints.
        checkpoint_share: largest share of the time that saving may take.
        stop_at_return: training stops once the mean return over seeds has reached this for every setting; never if
            None.
        until: number of updates after which training stops, to go on later; all if None.
    """

    console: Console
    runs_at_once: int | None = None
    loggers: Sequence[str] = ()
    on_progress: Callable[[Progress], object] = lambda progress: None
    checkpoint_seconds: float = LEAST_SECONDS
    checkpoint_share: float = SHARE
    stop_at_return: float | None = None
    until: int | None = None


@contextlib.contextmanager
def reporting(spec: RunSpec, path: Path, session: Session, strict: bool) -> Iterator[Any]:
    """Opens the progress bar and the loggers of a session.

    Args:
        spec: specification of the run.
        path: folder of the run.
        session: how it is shown.
        strict: whether a logger that does not start is an error; otherwise training continues without it.

    Yields:
        A function that passes the progress of `fit` to the progress bar, the loggers and `on_progress`.

    Raises:
        SettingsError: if `strict` and a logger does not start.
    """
    console, loggers = session.console, session.loggers
    if loggers:  # printed first, because W&B may ask for a key
        runs = len(setting_labels(spec)) * len(spec.seeds)
        console.print(f"opening {' and '.join(loggers)} for {runs} runs", style="dim")
    with contextlib.ExitStack() as stack:
        readers: list[Callable[[Progress], object]] = []
        for name in loggers:
            try:
                readers.append(stack.enter_context(make_logger(name, spec, path)))
            except SettingsError as error:
                if strict:
                    raise
                console.print(f"{error}; training continues without it", highlight=False, markup=False)
        readers.append(_Careful("the progress bar", stack.enter_context(ProgressBar(console, spec).show())))

        reached = _Reached(session.stop_at_return)

        def report(progress: Progress) -> bool:
            for reader in readers:
                reader(progress)
            return session.on_progress(progress) is not False and not reached(progress)

        yield report


class _Reached:
    """Whether the mean return over seeds has reached a number for every setting, by the last episodes of each run."""

    def __init__(self, wanted: float | None):
        self._wanted, self._returns = wanted, np.zeros(())

    def __call__(self, progress: Progress) -> bool:
        if self._wanted is None:
            return False
        for row in np.moveaxis(progress.metrics["episode_return"], -1, 0):  # [H, S], NaN where no episode ended
            known = self._returns if self._returns.shape else np.full(row.shape, np.nan)
            self._returns = np.where(np.isnan(row), known, row)
        return bool((self._returns.mean(1) >= self._wanted).all())


class _Careful:
    """Calls a function until it fails once; the failure is logged, and later calls do nothing."""

    def __init__(self, name: str, function: Callable[..., object]):
        self._name, self._function, self._failed = name, function, False

    def __call__(self, *args: object) -> None:
        if self._failed:
            return
        try:
            self._function(*args)
        except Exception as error:
            self._failed = True
            LOG.warning(f"{self._name} failed, and training continues without it: {described(error)}")
