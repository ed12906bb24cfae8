"""Continuation of stopped runs, each from its last checkpoint."""

from pathlib import Path

from rpo_jax.errors import SettingsError
from rpo_jax.runs.compare import parts_of_comparison, train_in_folders
from rpo_jax.runs.folder import SETTINGS, has_begun, resumable
from rpo_jax.runs.launch import train_in_folder
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import load_spec
from rpo_jax.runs.summary import is_finished
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject


def unfinished(path: Path) -> list[RunSpec]:
    """Returns the run of a folder, or all runs of a comparison, if at least one of them is unfinished; else none.

    Args:
        path: folder of a run or a comparison.

    Raises:
        SettingsError: if the folder holds no run, or a damaged one.
    """
    paths = parts_of_comparison(path) or [path]
    if not all((part / SETTINGS).exists() for part in paths) and len(paths) > 1 and not any(map(has_begun, paths)):
        raise SettingsError(f"{path} was stopped while its runs were set up; remove it, and begin again")
    specs = [load_spec(part) for part in paths]
    if all(map(is_finished, paths)):
        return []
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
    with lock_folder(path), resumable(path):
        if parts_of_comparison(path):
            return train_in_folders(specs, path, session, new=False)
        return [train_in_folder(specs[0], path, session, new=False)[0]]
