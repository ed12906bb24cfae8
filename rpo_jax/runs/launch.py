"""Training of one run into its folder, and comparison of several runs in one plot."""

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from rpo_jax.algorithm.types import Policy
from rpo_jax.analysis.curves import Curves, draw_curves
from rpo_jax.errors import SettingsError, SimulatorError, described
from rpo_jax.execution.checkpoints import LEAST_SECONDS, SHARE
from rpo_jax.execution.fit import Progress, fitted
from rpo_jax.execution.memory import mebibytes
from rpo_jax.execution.signals import stop_requests
from rpo_jax.files import atomic_write, check_no_link, make_folder, read_json, write_json
from rpo_jax.loggers import make_logger
from rpo_jax.runs import disk
from rpo_jax.runs.evaluate import evaluation_of
from rpo_jax.runs.folder import CHECKPOINTS, COMPARISON, PICTURE, SETTINGS, SUMMARY, check_free, release
from rpo_jax.runs.ownership import own
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.results import read_metrics, write_results
from rpo_jax.runs.settings import checkpoints_of, folder_of, load_spec, read_initial, write_settings
from rpo_jax.runs.summary import is_finished, read_summary, told
from rpo_jax.schema import check
from rpo_jax.settings.grid import seeds
from rpo_jax.settings.spec import RunSpec, setting_labels
from rpo_jax.typing import JsonObject

LOG = logging.getLogger("rpo_jax")


class Session(NamedTuple):
    """How this process trains runs and shows it; results do not depend on it, but for rounding by `runs_at_once`.

    Attributes:
        console: console on which progress is shown.
        runs_at_once: maximum number of runs trained in one call; as many as fit into memory if None.
        loggers: names of the loggers that follow training.
        on_progress: called after each segment, after the progress bar and the loggers.
        checkpoint_seconds: least number of seconds between two checkpoints.
        checkpoint_share: largest share of the time that saving may take.
    """

    console: Console
    runs_at_once: int | None = None
    loggers: Sequence[str] = ()
    on_progress: Callable[[Progress], object] = lambda progress: None
    checkpoint_seconds: float = LEAST_SECONDS
    checkpoint_share: float = SHARE


def run_to_folder(
    spec: RunSpec,
    path: Path,
    session: Session,
    initial: Policy | None = None,
) -> tuple[JsonObject, dict[str, Curves]]:
    """Trains a run, and writes its results to a folder; after an interrupt or a failure, those obtained so far.

    Args:
        spec: specification of the run.
        path: folder of the run.
        session: how it is trained and shown.
        initial: policy from which every run starts; `spec.init_from` is its label.

    Returns:
        The summary, and the curves by label of the setting.

    Raises:
        SettingsError: if the folder already holds a run, files cannot be written, or a logger does not start.
        SimulatorError: if an environment on the host failed in the first update; no folder is left then.
    """
    with own(path):
        check_free(path)
        write_settings(path, spec, initial)
        return finish(spec, path, session, fresh=True)


def unfinished(path: Path) -> list[RunSpec]:
    """Returns the run of a folder, or all runs of a comparison, if at least one of them is unfinished.

    Args:
        path: folder of a run or a comparison.

    Raises:
        SettingsError: if the folder holds no run, only finished runs, or a damaged one.
    """
    paths = parts_of_comparison(path) or [path]
    if not all((part / SETTINGS).exists() for part in paths) and len(paths) > 1 and not any(map(_has_begun, paths)):
        raise SettingsError(f"{path} was stopped while its runs were set up; remove it, and begin again")
    specs = [load_spec(part) for part in paths]
    if all(map(is_finished, paths)):
        raise SettingsError(f"{path} is finished: nothing is left to do")
    for part, spec in zip(paths, specs, strict=True):
        if part != path and part.name != spec.variant:
            raise SettingsError(f"{part} holds a run of {spec.variant}: the parts of a comparison are named by variant")
    return specs


def resume(
    specs: list[RunSpec],
    path: Path,
    session: Session,
) -> list[JsonObject]:
    """Continues `unfinished` runs, each from its last checkpoint or from the start.

    Args:
        specs: specifications of the runs, from `unfinished`.
        path: folder of the run or the comparison.
        session: how they are trained and shown.

    Returns:
        The summaries of the runs.

    Raises:
        SettingsError: if all checkpoints are damaged, or files cannot be written.
    """
    if specs[0].agent().env.on_host:
        session.console.print(
            f"{specs[0].env} runs outside of JAX: new episodes begin, and the rest continues as it was"
        )
    with own(path):
        if parts_of_comparison(path):
            return _finish_all(specs, path, session, fresh=False)
        return [finish(specs[0], path, session, fresh=False)[0]]


def parts_of_comparison(path: Path) -> list[Path]:
    """Returns the folders of the runs of a comparison; none if the folder holds a single run."""
    if (path / SETTINGS).exists():
        return []
    names = (SETTINGS, CHECKPOINTS, SUMMARY)  # a run is found even if one of these is lost
    parts = {entry.parent for name in names for entry in path.glob(f"*/{name}")}
    return sorted(parts | {path / variant for variant in _variants(path)})


def _has_begun(part: Path) -> bool:
    return (part / CHECKPOINTS).exists() or (part / SUMMARY).exists()


def _variants(path: Path) -> list[str]:
    """Returns the variants that the list of a comparison names; none if there is no such list."""
    try:
        parts = read_json(path / COMPARISON)
        check(parts, [{"variant": str}])
        if unfit := [part["variant"] for part in parts if not re.fullmatch(r"[\w-][\w.-]*", part["variant"])]:
            raise ValueError(f"{unfit[0]!r} is no name of a variant")
        return [part["variant"] for part in parts]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError):
        raise SettingsError(f"{path / COMPARISON} is damaged; remove it to continue with the runs beside it") from None


def finish(spec: RunSpec, path: Path, session: Session, fresh: bool) -> tuple[JsonObject, dict[str, Curves]]:
    """Trains from the folder's last checkpoint, or from the start, to the end; see `run_to_folder`.

    Args:
        spec: specification of the run.
        path: folder of the run.
        session: how it is trained and shown.
        fresh: whether nothing has been trained yet, before or by this command: a failure then frees the folder, and a
            logger that does not start is an error. Otherwise the folder is kept, and training continues without that
            logger.

    Returns:
        The summary, and the curves by label of the setting.
    """
    agent, trained = spec.agent(), False
    checkpoints = checkpoints_of(path, agent, session.checkpoint_seconds, session.checkpoint_share)
    try:
        space = disk.check(spec, agent, path)
        session.console.print(
            f"disk: about {mebibytes(space.results)} for results, {mebibytes(space.checkpoints)} for checkpoints",
            style="dim",
        )
        settings, initial = (path / SETTINGS).read_bytes(), read_initial(path, agent)
        options = {"checkpoints": checkpoints, "evaluation": evaluation_of(spec), "initial": initial}
        keys = seeds(spec.seeds[0], len(spec.seeds))
        # The results are written before environments, loggers and the progress bar are closed.
        with (
            _reporting(spec, path, session, fresh) as report,
            fitted(agent, spec.hyperparams, keys, report, runs_at_once=session.runs_at_once, **options) as result,
        ):
            if not (trained := result.metrics["entropy"].size > 0):
                failure = result.failure
                raise (SimulatorError(f"in the first update, {told(spec, failure)}") if failure else KeyboardInterrupt)
            path = folder_of(path, settings, spec, initial)
            summary = write_results(path, spec, result)
            curves = curves_of(spec, result.metrics)
            _draw(curves, f"{spec.variant} on {spec.env}, {len(spec.seeds)} seeds", path)
    except BaseException:
        if fresh and not trained:
            release(path)
        raise
    return summary, curves


@contextlib.contextmanager
def _reporting(spec: RunSpec, path: Path, session: Session, strict: bool) -> Iterator[Any]:
    """Yields a function that passes the progress of `fit` to the progress bar, the loggers and `on_progress`."""
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

        def report(progress: Progress) -> None:
            for reader in (*readers, session.on_progress):
                reader(progress)

        yield report


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


def compare_to_folder(
    specs: list[RunSpec],
    path: Path,
    session: Session,
    initial: Policy | None = None,
) -> list[JsonObject]:
    """Trains several runs into subfolders named by variant, and plots them together; see `run_to_folder`.

    Args:
        specs: specifications of the runs.
        path: folder of the comparison.
        session: how they are trained and shown.
        initial: policy from which every run starts.

    Returns:
        The summaries of the runs.
    """
    with own(path):
        check_comparison_free(specs, path)
        write_json(path / COMPARISON, [{"variant": spec.variant} for spec in specs])  # no part can be lost unseen
        for spec in specs:
            check_no_link(path / spec.variant)
            make_folder(path / spec.variant)
            write_settings(path / spec.variant, spec, initial)
        return _finish_all(specs, path, session, fresh=True)


def _finish_all(specs: list[RunSpec], path: Path, session: Session, fresh: bool) -> list[JsonObject]:
    summaries, curves = [], {}
    try:
        with stop_requests() as stopped:
            for spec in specs:
                part = path / spec.variant
                if is_finished(part):
                    summary, found = read_summary(part), curves_of(spec, read_metrics(part, spec))
                else:
                    check_no_link(part)
                    with own(part):
                        summary, found = finish(spec, part, session, fresh and not summaries)
                summaries.append(summary)
                curves |= {f"{spec.variant} {label}".strip(): curve for label, curve in found.items()}
                _draw(curves, f"{specs[0].env}, {len(spec.seeds)} seeds", path)
                rest = [{"variant": other.variant} for other in specs[len(summaries) :]]
                write_json(path / COMPARISON, summaries + rest)
                if stopped or summary["interrupted"]:
                    break
    except BaseException:
        if fresh and not summaries:
            for spec in specs:
                release(path / spec.variant)
            release(path)
        raise
    return summaries


def check_comparison_free(specs: list[RunSpec], path: Path) -> None:
    """Raises a SettingsError if a folder that the comparison of `specs` in `path` needs already holds a run."""
    for taken in (path, *(path / spec.variant for spec in specs)):
        check_free(taken)


def curves_of(spec: RunSpec, metrics: dict[str, np.ndarray]) -> dict[str, Curves]:
    """Returns the curves of `metrics` {name: [H, S, updates]} of the run `spec`, by label of the setting."""
    steps = spec.config.round_timesteps * np.arange(1, metrics["entropy"].shape[-1] + 1)
    rows = zip(metrics["episode_return"], metrics["entropy"], strict=True)
    return {label: Curves(steps, *row) for label, row in zip(setting_labels(spec), rows, strict=True)}


def _draw(curves: dict[str, Curves], title: str, path: Path) -> None:
    with atomic_write(path / PICTURE) as part:
        draw_curves(curves, title).savefig(part, dpi=120, format="png")
