"""The folder of a run: settings, metrics, policies and a summary, in formats that anything can read.

settings.json   what was trained
initial.npz     the policy that all runs began with, if one was given
metrics.csv     one row per setting, seed and update
curves.png      return and entropy over steps
checkpoints/    where training was last; `rpo-jax resume` goes on from there
policies.npz    parameters and normalisation of every trained policy, leaves [H, S, ...]; loads without pickle
evaluations.csv one row per setting, seed and evaluation, if there were any
best.npz        of every run the policy that did best in them
summary.json    final numbers, times, versions, and the digests of the files above
"""

import contextlib
from pathlib import Path

from rpo_jax.errors import SettingsError
from rpo_jax.execution.checkpoints import FOLDER as CHECKPOINTS
from rpo_jax.files import make_folder

SETTINGS, METRICS_TABLE, POLICIES, SUMMARY = "settings.json", "metrics.csv", "policies.npz", "summary.json"
EVALUATIONS, BEST, COMPARISON = "evaluations.csv", "best.npz", "comparison.json"
INITIAL = "initial.npz"


def check_free(folder: Path) -> None:
    """Raises a SettingsError if the folder already holds a run, or a comparison of runs."""
    try:
        taken = (folder / SETTINGS).exists() or (folder / COMPARISON).exists()
    except OSError as error:
        raise SettingsError(f"cannot use the folder {folder}: {error.strerror}; choose another --out") from None
    if taken:
        raise SettingsError(f"{folder} already holds a run; choose another --out, or move it away")


def claim(folder: Path) -> None:
    """Makes the folder of a new run.

    Raises:
        SettingsError: if it already holds a run, or cannot be made.
    """
    check_free(folder)
    make_folder(folder)


def release(folder: Path) -> None:
    """Gives up a folder whose run came to nothing, so that it can be used again; what was done is kept."""
    if (folder / CHECKPOINTS).exists() or (folder / SUMMARY).exists():
        return
    for name in (SETTINGS, INITIAL):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
