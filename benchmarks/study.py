"""Studies of learning: trains a list of runs, keeps what is done, and can go on where it was cut."""

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from rich.console import Console

from recording import RESULTS, Row, add, records
from rpo_jax import Checkpoints, fit
from rpo_jax.files import plain
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.summary import describe_failure, final_values, summarize
from rpo_jax.settings.grid import settings_list
from rpo_jax.settings.spec import RunSpec, setting_labels

POINTS = 60  # of each recorded curve
CURVES = ("episode_return", "entropy", "round_reward")


def run_study(name: str, specs: Mapping[str, RunSpec]) -> None:
    """Trains the runs that `results/NAME.json` does not hold yet, and adds each as it ends."""
    done = {row["label"] for row in records(name) if _is_of(row, specs.get(row["label"]))}
    for label, spec in specs.items():
        if label not in done:
            result = train(
                spec, hint=f"what was done is in {RESULTS / name}.json, and the same command goes on from there"
            )
            add(name, record(label, spec, result), "label")


def train(spec: RunSpec, checkpoints: Checkpoints | None = None, hint: str = "nothing was recorded") -> Any:
    """Trains all runs of a spec, with a progress bar; ends the program if that fails or is interrupted.

    Args:
        spec: what is trained.
        checkpoints: to go on from, and to keep.
        hint: describe_failure after an interrupt.
    """
    keys = spec.keys()
    with ProgressBar(Console(stderr=True), spec).show() as bar:
        result = fit(spec.agent(), spec.hyperparams, keys, bar, checkpoints=checkpoints)
    if result.failure:
        sys.exit(f"an environment failed: {describe_failure(spec, result.failure)}")
    if result.interrupted:
        sys.exit(f"interrupted; {hint}")
    return result


def record(label: str, spec: RunSpec, result: Any, curves: Iterable[str] = CURVES) -> Row:
    """What is kept of a run: its settings, summary, and thinned curves of every setting and seed."""
    updates = result.metrics["entropy"].shape[-1]
    return {
        "label": label,
        "settings_labels": setting_labels(spec),
        "first_entropy": _rounded(result.metrics["entropy"][..., 0]),
        "first_round_reward": _rounded(result.metrics["round_reward"][..., 0]),
        "final_round_reward": _rounded(final_values(result.metrics["round_reward"], updates)),
        "summary": plain(summarize(spec, result)),
        **thinned({name: result.metrics[name] for name in curves}, spec.config.round_timesteps),
        **scale_of(result.state.params["params"]),
    }


def thinned(metrics: Mapping[str, np.ndarray], timesteps: int) -> Row:
    """What is kept of metrics [H, S, U] of updates of so many steps: means between the points of a curve."""
    updates = next(iter(metrics.values())).shape[-1]
    points = np.unique(np.linspace(0, updates - 1, POINTS).astype(int))
    return {
        "steps": ((points + 1) * timesteps).tolist(),
        "curves": {name: _rounded(_windowed(rows, points)) for name, rows in metrics.items()},
    }


def scale_of(params: Mapping[str, Any]) -> Row:
    """The scale of the action distribution at the end, sigma of a normal one: the mean over action dimensions."""
    if "log_scale" not in params:
        return {}
    log_scale = np.asarray(params["log_scale"])
    return {"final_scale": _rounded(np.exp(log_scale).mean(-1)), "action_size": log_scale.shape[-1]}


def _is_of(row: Row, spec: RunSpec | None) -> bool:
    """Whether a row is of these settings; where they have changed since, it is trained again."""
    if spec is None:
        return False
    wanted = {
        **{name: getattr(spec, name) for name in ("env", "variant", "head", "time_limit", "seeds")},
        "settings": plain(settings_list(spec.hyperparams)),
        "config": plain(dataclasses.asdict(spec.config)),
    }
    return all(row["summary"].get(name) == value for name, value in wanted.items())


def _windowed(rows: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Means over the rows between one point and the next, NaN rows apart: [H, S, U] to [H, S, points]."""
    begins = np.concatenate([[0], points[:-1] + 1])
    with np.errstate(invalid="ignore"):
        columns = []
        for begin, end in zip(begins, points + 1, strict=True):
            window = rows[..., begin:end]
            counts = (~np.isnan(window)).sum(-1)
            columns.append(np.where(counts > 0, np.nansum(window, -1) / np.maximum(counts, 1), np.nan))
    return np.stack(columns, -1)


def _rounded(x: np.ndarray) -> Any:
    if x.ndim:
        return [_rounded(row) for row in x]
    return None if math.isnan(x) else float(f"{float(x):.5g}")
