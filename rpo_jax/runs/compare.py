"""Comparison of several runs, in subfolders of one folder and in one plot."""

import re
from pathlib import Path

from rpo_jax.algorithm.types import Policy
from rpo_jax.analysis.curves import Curves
from rpo_jax.errors import SettingsError
from rpo_jax.execution.signals import stop_requests
from rpo_jax.files import atomic_write, check_no_link, make_folder, read_json, write_json
from rpo_jax.runs.folder import (
    CHECKPOINTS,
    COMPARISON,
    INITIAL,
    SETTINGS,
    SUMMARY,
    check_free,
    has_begun,
    release,
    resumable,
    shards_in,
)
from rpo_jax.runs.launch import draw, read_curves, title_of, train_in_folder
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import write_settings
from rpo_jax.runs.summary import is_finished, read_summary
from rpo_jax.schema import check
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject


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
    with lock_folder(path):
        check_comparison_free(specs, path)
        write_json(path / COMPARISON, [{"variant": spec.variant} for spec in specs])  # no part can be lost unseen
        for spec in specs:
            check_no_link(path / spec.variant)
            make_folder(path / spec.variant)
            write_settings(path / spec.variant, spec, initial)
        with resumable(path):
            return train_in_folders(specs, path, session, new=True)


def train_in_folders(specs: list[RunSpec], path: Path, session: Session, new: bool) -> list[JsonObject]:
    """Trains the runs of a comparison that are not finished, and plots all of them together.

    Args:
        specs: specifications of the runs.
        path: folder of the comparison.
        session: how they are trained and shown.
        new: whether nothing has been trained yet, as of `train_in_folder`.

    Returns:
        The summaries of the runs; after an interrupt, of those that have begun.
    """
    summaries, curves = [], {}
    kept = {path / spec.variant: _settings_of(path / spec.variant) for spec in specs}
    try:
        with stop_requests() as stopped:
            for spec in specs:
                part = path / spec.variant
                if is_finished(part):
                    summary, found = read_summary(part), read_curves(part, spec)
                else:
                    check_no_link(part)
                    with lock_folder(part):
                        _restore(part, kept[part])
                        summary, found = train_in_folder(spec, part, session, new and not summaries)
                summaries.append(summary)
                curves |= of_variant(spec, found)
                draw(curves, title_of(spec), path)
                rest = [{"variant": other.variant} for other in specs[len(summaries) :]]
                write_json(path / COMPARISON, summaries + rest)
                if stopped or (summary["interrupted"] and not summary["stopped_early"]):
                    break
    except BaseException:
        if new and not any(has_begun(path / spec.variant) for spec in specs):
            for spec in specs:
                release(path / spec.variant)
            release(path)
        raise
    return summaries


def of_variant(spec: RunSpec, curves: dict[str, Curves]) -> dict[str, Curves]:
    """Returns the `curves` of the run `spec` as they are called in the picture of a comparison."""
    return {f"{spec.variant} {label}".strip(): curve for label, curve in curves.items()}


def _settings_of(part: Path) -> dict[str, bytes]:
    return {name: (part / name).read_bytes() for name in (SETTINGS, INITIAL) if (part / name).exists()}


def _restore(part: Path, settings: dict[str, bytes]) -> None:
    """Writes the settings of a part again, if its folder was moved or removed while another part was trained."""
    for name, content in settings.items():
        if not (part / name).exists():
            with atomic_write(part / name) as new:
                new.write_bytes(content)


def check_comparison_free(specs: list[RunSpec], path: Path) -> None:
    """Raises a SettingsError if a folder that the comparison of `specs` in `path` needs already holds a run."""
    for taken in (path, *(path / spec.variant for spec in specs)):
        check_free(taken)


def parts_of_comparison(path: Path) -> list[Path]:
    """Returns the folders of the runs of the comparison in `path`; none if that holds a single run.

    Args:
        path: folder of a run or a comparison.

    Raises:
        SettingsError: if the list of the runs is damaged.
    """
    if (path / SETTINGS).exists():
        return []
    names = (SETTINGS, CHECKPOINTS, SUMMARY)  # a run is found even if one of these is lost
    parts = {entry.parent for name in names for entry in path.glob(f"[!.]*/{name}")} - set(shards_in(path))
    listed = [path / variant for variant in _variants(path)]
    return [*listed, *sorted(parts - set(listed))]


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
