"""One run from settings to a filled folder, and several on one picture."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from rpo_jax.errors import SettingsError, SimulatorError
from rpo_jax.runs import folder
from rpo_jax.runs.fit import Fit, fit
from rpo_jax.runs.plots import Curves, draw_curves
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.spec import RunSpec, setting_labels
from rpo_jax.sweep import seeds

PICTURE = "curves.png"


def run_to_folder(
    spec: RunSpec, path: Path, console: Console, runs_at_once: int | None = None
) -> tuple[dict[str, Any], dict[str, Curves]]:
    """Trains, and fills the folder; what was done before an interrupt or a failure is kept too.

    Returns:
        The summary, and the curves by label of the setting.

    Raises:
        SettingsError: if the folder holds a run already, or the disk does not take what is written.
        SimulatorError: if an environment on the host failed in the first update; the folder is not made then.
    """
    folder.claim(path)
    folder.write_settings(path, spec)
    return finish(spec, path, console, runs_at_once)


def resume(
    path: Path, console: Console, runs_at_once: int | None = None
) -> tuple[RunSpec, dict[str, Any], dict[str, Curves]]:
    """Goes on with the run of a folder from its last checkpoint, or from the start if there is none.

    Raises:
        SettingsError: if it holds no run, one that is at its end, or a damaged one.
    """
    spec = folder.load_spec(path)
    if folder.is_finished(path):
        raise SettingsError(f"{path} is finished: nothing is left to do")
    if spec.agent().env.on_host:
        console.print(f"{spec.env} lives outside of JAX: its episodes begin anew, the rest goes on as it was")
    return spec, *finish(spec, path, console, runs_at_once)


def finish(
    spec: RunSpec, path: Path, console: Console, runs_at_once: int | None
) -> tuple[dict[str, Any], dict[str, Curves]]:
    """Trains from the folder's last checkpoint, or from the start, to the end; see `run_to_folder`."""
    agent = spec.agent()
    checkpoints = folder.checkpoints_of(path, agent)
    try:
        with ProgressBar(console, spec).show() as bar:
            keys = seeds(spec.seeds[0], len(spec.seeds))
            result = fit(agent, spec.hyperparams, keys, bar, runs_at_once=runs_at_once, checkpoints=checkpoints)
        if not result.metrics["entropy"].size:
            failure = result.failure
            raise SimulatorError(f"in the first update, {folder.told(spec, failure)}") if failure else KeyboardInterrupt
    except BaseException:
        folder.release(path)
        raise
    summary = folder.write_results(path, spec, result)
    curves = curves_of(spec, result)
    with folder.written_whole(path / PICTURE) as part:
        figure = draw_curves(curves, f"{spec.variant} on {spec.env}, {len(spec.seeds)} seeds")
        figure.savefig(part, dpi=120, format="png")
    return summary, curves


def compare_to_folder(
    specs: list[RunSpec], path: Path, console: Console, runs_at_once: int | None = None
) -> list[dict[str, Any]]:
    """Trains several runs into subfolders named by variant, and draws them in one picture."""
    check_free(specs, path)
    folder.claim(path)
    summaries, curves = [], {}
    for spec in specs:
        try:
            summary, own = run_to_folder(spec, path / spec.variant, console, runs_at_once)
        except BaseException:
            folder.release(path)  # if nothing is in it
            raise
        summaries.append(summary)
        curves |= {f"{spec.variant} {label}".strip(): curve for label, curve in own.items()}
        draw_curves(curves, f"{specs[0].env}, {len(spec.seeds)} seeds").savefig(path / PICTURE, dpi=120)
        folder.write_json(path / folder.COMPARISON, summaries)
        if summary["interrupted"]:
            break
    return summaries


def check_free(specs: list[RunSpec], path: Path) -> None:
    """Raises a SettingsError if a comparison there would meet a run; nothing has been trained then."""
    for taken in (path, *(path / spec.variant for spec in specs)):
        folder.check_free(taken)


def curves_of(spec: RunSpec, result: Fit) -> dict[str, Curves]:
    """Curves by label of the setting."""
    steps = spec.config.round_timesteps * np.arange(1, result.metrics["entropy"].shape[-1] + 1)
    rows = zip(result.metrics["episode_return"], result.metrics["entropy"], strict=True)
    return {label: Curves(steps, *row) for label, row in zip(setting_labels(spec), rows, strict=True)}
