"""Training of one run into its folder."""

import contextlib
from pathlib import Path

from rpo_jax.algorithm.types import Policy
from rpo_jax.analysis.curves import Curves, curves_of, draw_curves
from rpo_jax.errors import SettingsError, SimulatorError, counted
from rpo_jax.execution.fit import Fit, fitted
from rpo_jax.execution.memory import mebibytes
from rpo_jax.files import atomic_write
from rpo_jax.runs import disk
from rpo_jax.runs.evaluate import evaluation_of
from rpo_jax.runs.folder import PICTURE, SETTINGS, check_free, release, resumable
from rpo_jax.runs.following import announced
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.results import read_evaluations, read_metrics, write_results
from rpo_jax.runs.session import Session, reporting
from rpo_jax.runs.settings import checkpoints_of, folder_of, read_initial, write_settings
from rpo_jax.runs.summary import describe_failure
from rpo_jax.settings.spec import RunSpec, setting_labels
from rpo_jax.typing import JsonObject


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
    with lock_folder(path):
        check_free(path)
        write_settings(path, spec, initial)
        with resumable(path):
            return train_in_folder(spec, path, session, new=True)


def train_in_folder(spec: RunSpec, path: Path, session: Session, new: bool) -> tuple[JsonObject, dict[str, Curves]]:
    """Trains from the folder's last checkpoint, or from the start, to the end; see `run_to_folder`.

    Args:
        spec: specification of the run.
        path: folder of the run.
        session: how it is trained and shown.
        new: whether nothing has been trained yet, before or by this command: a failure then frees the folder, and a
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
        options |= {"runs_at_once": session.runs_at_once, "until": session.until}
        # The results are written before loggers, the progress bar and environments are closed, in this order.
        with contextlib.ExitStack() as shown:
            report = shown.enter_context(reporting(spec, path, session, strict=new))
            with (
                announced(spec, initial, session),
                fitted(agent, spec.hyperparams, spec.keys(), report, **options) as result,
            ):
                if not (trained := result.metrics["entropy"].size > 0):
                    failure = result.failure
                    raise (
                        SimulatorError(f"in the first update, {describe_failure(spec, failure)}")
                        if failure
                        else KeyboardInterrupt
                    )
                written = _write_where_it_stays(path, settings, spec, initial, result)
                shown.close()  # here, where a signal is caught
    except BaseException:
        if new and not trained:
            release(path)
        raise
    return written


def _write_where_it_stays(
    path: Path, settings: bytes, spec: RunSpec, initial: Policy | None, result: Fit
) -> tuple[JsonObject, dict[str, Curves]]:
    """Writes the results, and all of them again if the folder is moved or removed meanwhile."""
    while True:
        place = folder_of(path, settings, spec, initial)
        try:
            return write_run(place, spec, result)
        except (SettingsError, OSError):
            if (place / SETTINGS).exists():
                raise


def write_run(path: Path, spec: RunSpec, result: Fit) -> tuple[JsonObject, dict[str, Curves]]:
    """Writes the results and the picture of a run.

    Args:
        path: folder of the run.
        spec: specification of the run.
        result: what was trained.

    Returns:
        The summary, and the curves by label of the setting.
    """
    summary, evaluated = write_results(path, spec, result), result.evaluated
    means = (evaluated.updates, evaluated.returns.mean(-1)) if evaluated else None
    curves = curves_of(spec.config, result.metrics, setting_labels(spec), means)
    draw_run(spec, curves, path)
    return summary, curves


def read_curves(path: Path, spec: RunSpec) -> dict[str, Curves]:
    """Returns the curves of the run `spec` by label of the setting, from the tables in its folder `path`."""
    return curves_of(spec.config, read_metrics(path, spec), setting_labels(spec), read_evaluations(path, spec))


def draw_run(spec: RunSpec, curves: dict[str, Curves], path: Path) -> None:
    """Plots the `curves` of the run `spec` into a folder `path`; a single setting is called by the method."""
    named = {label or spec.variant: curve for label, curve in curves.items()}
    draw(named, f"{spec.variant} on {title_of(spec)}", path)


def title_of(spec: RunSpec) -> str:
    """Returns the title of the picture of a comparison, of which `spec` is a run."""
    return f"{spec.env}, {counted(len(spec.seeds), 'seed')}"


def draw(curves: dict[str, Curves], title: str, path: Path) -> None:
    """Plots `curves` by label into a folder `path`, under a `title`."""
    with atomic_write(path / PICTURE) as part:
        draw_curves(curves, title).savefig(part, dpi=120, format="png")
