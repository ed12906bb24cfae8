"""The folder of a run: settings, metrics, policies and a summary, in common file formats.

settings.json   the specification of the run
initial.npz     the policy from which all runs started, if one was given
metrics.csv     one row per setting, seed and update
curves.png      return and entropy over environment steps
checkpoints/    the latest checkpoints, from which `rpo-jax resume` continues
policies.npz    parameters and normalisation of every trained policy, leaves [H, S, ...]; loads without pickle
evaluations.csv one row per setting, seed and evaluation, if there were evaluations
best.npz        for every run, the policy with the best evaluation
summary.json    final numbers, times, versions, and the digests of the files above
"""

import contextlib
import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from rpo_jax.errors import SettingsError
from rpo_jax.execution.checkpoints import FOLDER as CHECKPOINTS
from rpo_jax.execution.processes import are_several

SETTINGS, METRICS_TABLE, POLICIES, SUMMARY = "settings.json", "metrics.csv", "policies.npz", "summary.json"
EVALUATIONS, BEST, COMPARISON = "evaluations.csv", "best.npz", "comparison.json"
INITIAL, PICTURE, SEARCH = "initial.npz", "curves.png", "search.json"
RESULTS = (SETTINGS, METRICS_TABLE, EVALUATIONS, BEST, POLICIES)  # the files whose digests the summary holds
WRITTEN = (*RESULTS[1:], INITIAL, PICTURE, SUMMARY, CHECKPOINTS)


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Logs how to continue what a folder holds, if something was saved before the block is interrupted.

    Args:
        folder: folder of the run or the comparison.
    """
    try:
        yield
    except SettingsError:
        raise
    except BaseException:
        parts = [path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{SETTINGS}")]
        if any(map(has_begun, [folder, *parts])):
            words = ["rpo-jax", "resume", str(folder), *(["--distributed"] if are_several() else [])]
            logging.getLogger("rpo_jax").warning(f"to continue: {shlex.join(words)}")
        raise


def check_free(folder: Path) -> None:
    """Raises a SettingsError if the folder already holds a run, a comparison or a file that a run would overwrite."""
    try:
        present = [name for name in (SETTINGS, COMPARISON, SEARCH, *WRITTEN) if _exists(folder / name)]
        taken = not {SETTINGS, COMPARISON, SEARCH}.isdisjoint(present)
    except OSError as error:
        raise SettingsError(f"cannot use the folder {folder}: {error.strerror}; choose another --out") from None
    if taken:
        raise SettingsError(f"{folder} already holds a run; choose another --out, or move it away")
    if present:
        raise SettingsError(
            f"{folder} already holds {' and '.join(present)}, which a run would overwrite; choose another --out, or "
            "move that away"
        )


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def has_begun(folder: Path) -> bool:
    """Returns whether a folder holds a checkpoint or a summary of a run."""
    return (folder / CHECKPOINTS).exists() or (folder / SUMMARY).exists()


def shards_in(folder: Path) -> list[Path]:
    """Returns the folders of the shards of a sweep in a folder."""
    return sorted(path for path in folder.glob("shard-*") if re.fullmatch(r"shard-\d+-of-\d+", path.name))


def is_search(folder: Path) -> bool:
    """Returns whether a folder holds a search."""
    return (folder / SEARCH).is_file()


def release(folder: Path) -> None:
    """Frees a folder for another run, unless it already holds a checkpoint or a summary."""
    if has_begun(folder):
        return
    names = (SETTINGS, INITIAL) if any(folder.glob(f"*/{SETTINGS}")) else (SETTINGS, INITIAL, COMPARISON)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
