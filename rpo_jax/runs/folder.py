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
from pathlib import Path

from rpo_jax.errors import SettingsError
from rpo_jax.execution.checkpoints import FOLDER as CHECKPOINTS

SETTINGS, METRICS_TABLE, POLICIES, SUMMARY = "settings.json", "metrics.csv", "policies.npz", "summary.json"
EVALUATIONS, BEST, COMPARISON = "evaluations.csv", "best.npz", "comparison.json"
INITIAL, PICTURE = "initial.npz", "curves.png"
RESULTS = (SETTINGS, METRICS_TABLE, EVALUATIONS, BEST, POLICIES)  # the files whose digests the summary holds
WRITTEN = (*RESULTS[1:], INITIAL, PICTURE, SUMMARY, CHECKPOINTS)


def check_free(folder: Path) -> None:
    """Raises a SettingsError if the folder already holds a run, a comparison or a file that a run would overwrite."""
    try:
        present = [name for name in (SETTINGS, COMPARISON, *WRITTEN) if _exists(folder / name)]
        taken = not {SETTINGS, COMPARISON}.isdisjoint(present)
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


def release(folder: Path) -> None:
    """Frees a folder for another run, unless it already holds a checkpoint or a summary."""
    if (folder / CHECKPOINTS).exists() or (folder / SUMMARY).exists():
        return
    names = (SETTINGS, INITIAL) if any(folder.glob(f"*/{SETTINGS}")) else (SETTINGS, INITIAL, COMPARISON)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
