"""summary.json: the results of a run, and the digests of its other files."""

import dataclasses
import math
import platform
from pathlib import Path

import jax
import numpy as np

from rpo_jax.algorithm.types import FAULTS, TrainingState
from rpo_jax.analysis.intervals import interval_of_mean
from rpo_jax.envs import SUITES
from rpo_jax.errors import SettingsError
from rpo_jax.execution.fit import Failure, Fit
from rpo_jax.files import DIGEST, digest_of, read_json, sha256_of
from rpo_jax.runs.folder import RESULTS, SETTINGS, SUMMARY
from rpo_jax.runs.versions import versions_of
from rpo_jax.schema import check, check_shape
from rpo_jax.settings.grid import num_settings, settings_list
from rpo_jax.settings.spec import RunSpec, run_label
from rpo_jax.typing import JsonObject

ROWS = [[(float, None)]]  # numbers [setting][seed]; null is NaN
KIND: JsonObject = {  # of what is read from a summary
    **dict.fromkeys(("compile_seconds", "train_seconds", "evaluate_seconds", "env_steps_per_second"), float),
    **dict.fromkeys(("final_return", "final_entropy"), ROWS),
    **dict.fromkeys(("bytes_per_run", "runs_at_once", "broken_episodes"), int),
    "variant": str,
    "seeds": [int],
    "settings": [dict],
    "best_return": (None, ROWS),
    "interrupted": bool,
    "failure": (None, str),
    "faults": [{"run": str, "update": int, "what": str}],
    "files": {str: str},
}


def summarize(spec: RunSpec, result: Fit) -> JsonObject:
    """Creates the content of summary.json.

    Args:
        spec: specification of the run.
        result: what was trained.

    Returns:
        The content. Nested lists are [setting][seed]; the return of a diverged run is NaN. `return_interval` holds for
        every setting the bounds of the 95% interval of its mean return, or null.
    """
    updates = result.metrics["entropy"].shape[-1]
    timesteps = updates * spec.config.round_timesteps
    runs = len(spec.seeds) * result.metrics["entropy"].shape[0]
    diverged = np.isnan(result.metrics["policy_loss"][..., -1:]).any(-1)
    final_return = np.where(diverged, np.nan, final_values(result.metrics["episode_return"], updates))
    return {
        "env": spec.env,
        "variant": spec.variant,
        "preset": spec.preset,
        "head": spec.head,
        "time_limit": spec.time_limit,
        "seeds": spec.seeds,
        "settings": settings_list(spec.hyperparams),
        "config": dataclasses.asdict(spec.config),
        "final_return": final_return.tolist(),
        "return_interval": [interval_bounds(returns) for returns in final_return],
        "best_return": result.evaluated.best_return.tolist() if result.evaluated else None,
        "final_evaluation": _last_evaluation(result),
        "final_entropy": final_values(result.metrics["entropy"], updates).tolist(),
        "total_timesteps": timesteps,
        "compile_seconds": round(result.compile_seconds, 3),
        "train_seconds": round(result.train_seconds, 3),
        "evaluate_seconds": round(result.evaluate_seconds, 3),
        "checkpoint_seconds": round(result.checkpoint_seconds, 3),
        "env_steps_per_second": round(timesteps * runs / max(result.train_seconds, 1e-9), 1),
        "bytes_per_run": result.bytes_per_run,
        "runs_at_once": result.runs_at_once,
        "resumed_from": result.resumed_from,
        "interrupted": result.interrupted,
        "stopped_early": result.stopped_early,
        "failure": None if result.failure is None else describe_failure(spec, result.failure),
        "faults": _faults(spec, result.state),
        "broken_episodes": int(np.nansum(result.metrics["broken_episodes"])),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "versions": {"python": platform.python_version(), **versions_of(SUITES)},
    }


def interval_bounds(returns: np.ndarray) -> list[float] | None:
    """Returns the bounds of the 95% interval of the mean of `returns` [S] over seeds, if there is one."""
    interval = interval_of_mean(returns)
    return interval and [float(interval.low), float(interval.high)]


def _last_evaluation(result: Fit) -> list[list[float]] | None:
    """The mean return of each run in the last evaluation; None if there was none."""
    returns = result.evaluated.returns if result.evaluated else np.zeros((0, 0, 0, 0))
    return returns[:, :, -1].mean(-1).tolist() if returns.shape[2] else None


def describe_failure(spec: RunSpec, failure: Failure) -> str:
    """Describes a `failure` in a run `spec`: which of its runs failed, if known, and the error of its environment."""
    return failure.message if failure.run is None else f"{run_label(spec, *failure.run)}: {failure.message}"


def _faults(spec: RunSpec, state: TrainingState) -> list[JsonObject]:
    """Lists the runs that diverged, with the update and the quantity that first became non-finite."""
    faults, updates = np.asarray(state.fault), np.asarray(state.update)
    return [
        {
            "run": run_label(spec, setting, seed),
            "setting": setting,
            "seed": spec.seeds[seed],
            "update": int(updates[setting, seed]) + 1,
            "what": FAULTS[faults[setting, seed]],
        }
        for setting, seed in np.argwhere(faults > 0).tolist()
    ]


def final_values(rows: np.ndarray, num_updates: int) -> np.ndarray:
    """Averages rows over the last 5% of updates.

    Updates in which no episode ended are NaN and are ignored. If no episode ended in the last 5%, as can happen where
    all environments end their episodes together, the last value that is not NaN is used.

    Args:
        rows: a number for each update [H, S, U].
        num_updates: number of updates, of which 5% is taken.

    Returns:
        Averages [H, S].
    """

    def final(row: np.ndarray) -> float:
        known = row[~np.isnan(row)]
        recent = row[-max(1, math.ceil(0.05 * num_updates)) :]
        recent = recent[~np.isnan(recent)]
        if recent.size:
            return float(recent.mean())
        return float(known[-1]) if known.size else math.nan

    return np.apply_along_axis(final, -1, rows) if rows.shape[-1] else np.full(rows.shape[:-1], math.nan)


def read_summary(folder: Path) -> JsonObject:
    """Reads the summary of a run from its `folder`; its numbers [setting][seed] have the shape of settings and seeds.

    Raises:
        SettingsError: if the summary is missing or damaged.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise SettingsError(f"{folder} holds no results: there is no {SUMMARY} in it; the run did not finish")
    try:
        summary = read_json(path)
        right = summary[DIGEST] == digest_of(summary)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise damaged(path) from None
    if not right:
        raise damaged(path)
    try:
        check_summary(summary)
    except SettingsError as error:
        raise damaged(path, f": {error}") from None
    return summary


def check_summary(summary: JsonObject) -> None:
    """Raises a SettingsError if the `summary` that was read is not what `summarize` makes."""
    check(summary, KIND)
    shape = len(summary["settings"]), len(summary["seeds"])
    for name in ("final_return", "final_entropy", "best_return"):
        if summary[name] is not None:
            check_shape(summary[name], shape, name)
    if not min(*shape, summary["runs_at_once"]) >= 1 or not set(summary["files"]) <= set(RESULTS):
        raise SettingsError("it has no settings, no seeds, no runs at once, or files that are not a run's")


def summary_of(folder: Path, spec: RunSpec) -> JsonObject:
    """Reads the summary of a trained run.

    Args:
        folder: folder of the run.
        spec: its specification.

    Returns:
        The summary.

    Raises:
        SettingsError: if the summary is missing, damaged or of other runs.
    """
    summary = read_summary(folder)
    check_file(folder / SETTINGS, summary)
    own = spec.variant, num_settings(spec.hyperparams), spec.seeds
    if (summary["variant"], len(summary["settings"]), summary["seeds"]) != own:
        raise damaged(folder / SUMMARY, ": its variant, settings and seeds are not those of the run")
    return summary


def check_file(path: Path, summary: JsonObject, most_bytes: int | None = None) -> None:
    """Raises a SettingsError if a file is missing, too large, or not what the summary says.

    Args:
        path: the file.
        summary: summary of the run, with the digests of files.
        most_bytes: size that the file can have at most; any if None.
    """
    if not path.is_file():
        raise SettingsError(f"{path.parent} holds no {path.name}: the run did not finish, or the file was removed")
    too_large = most_bytes is not None and path.stat().st_size > most_bytes
    if too_large or sha256_of(path) != summary["files"].get(path.name):
        raise damaged(path)


def is_finished(folder: Path) -> bool:
    """Returns whether the run in a folder has finished and its results are undamaged."""
    try:
        summary = read_summary(folder)
        for name in summary["files"]:
            check_file(folder / name, summary)
    except SettingsError:
        return False
    return not summary["interrupted"]


def damaged(path: Path, reason: str = "") -> SettingsError:
    """Returns the error for a file of results that cannot be used, to be raised by the caller.

    Args:
        path: the file.
        reason: what is wrong with it, after a colon.
    """
    return SettingsError(
        f"{path} is damaged, or was changed after it was written{reason}; rpo-jax resume {path.parent} writes it again"
    )
