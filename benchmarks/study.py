"""Studies of learning: trains a list of runs, keeps what is done, and can go on where it was cut."""

import dataclasses
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from rpo_jax import fit, seeds, use_cpu_cores
from rpo_jax.compiling.cores import num_cores
from rpo_jax.files import plain
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.runs.summary import final_values, summarize, told
from rpo_jax.settings.grid import settings_list
from rpo_jax.settings.spec import RunSpec, setting_labels

use_cpu_cores()  # before a script's environments start JAX

RESULTS = Path(__file__).parent / "results"
POINTS = 60  # of each recorded curve


def run_study(name: str, specs: Mapping[str, RunSpec]) -> list[dict[str, Any]]:
    """Trains the runs that `results/NAME.json` does not hold yet, and adds each as it ends.

    Returns:
        One record per run: label, summary, and curves of every setting and seed.
    """
    path = RESULTS / f"{name}.json"
    done = {record["label"] for record in records(name) if _is_of(record, specs.get(record["label"]))}
    for label, spec in specs.items():
        if label in done:
            continue
        with ProgressBar(Console(stderr=True), spec).show() as bar:
            result = fit(spec.agent(), spec.hyperparams, seeds(spec.seeds[0], len(spec.seeds)), bar)
        if result.failure:
            sys.exit(f"an environment failed: {told(spec, result.failure)}")
        if result.interrupted:
            sys.exit(f"interrupted; what was done is in {path}, and the same command goes on from there")
        others = [record for record in records(name) if record["label"] != label]  # of another process among them
        write(name, [*others, {"command": command(), "machine": machine(), **record(label, spec, result)}])
    return [record for record in records(name) if record["label"] in specs]


def records(name: str) -> list[dict[str, Any]]:
    """What `results/NAME.json` holds, each with its command and machine."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    return [{"command": content["command"], "machine": content["machine"], **run} for run in content["runs"]]


def _is_of(record: dict[str, Any], spec: RunSpec | None) -> bool:
    """Whether a record is of these settings; where they have changed since, it is trained again."""
    if spec is None:
        return False
    wanted = {
        **{name: getattr(spec, name) for name in ("env", "variant", "head", "time_limit", "seeds")},
        "settings": plain(settings_list(spec.hyperparams)),
        "config": plain(dataclasses.asdict(spec.config)),
    }
    return all(record["summary"].get(name) == value for name, value in wanted.items())


def save(name: str, runs: list[dict[str, Any]], **more: Any) -> None:
    """Writes `results/NAME.json`: what was found, by what command, on what machine."""
    RESULTS.mkdir(exist_ok=True)
    content = {"command": command(), "machine": machine(), **more, "runs": runs}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def write(name: str, runs: list[dict[str, Any]]) -> None:
    """Writes the results under all the commands they came from, and machines if they differ."""
    commands, machines = (list(dict.fromkeys(run[part] for run in runs)) for part in ("command", "machine"))
    save(name, runs, command=" && ".join(commands), machine="; ".join(machines))


def users_environment() -> dict[str, str]:
    """The environment of a process in which nothing has been set for JAX, as users have it."""
    return {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "PJRT_NPROC")}


def command() -> str:
    """The command line that runs this script."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def device_kind() -> str:
    """Of the devices that this process computes on, such as "cpu"."""
    return jax.devices()[0].device_kind


def machine(release: str = jax.__version__) -> str:
    """What it ran on, with that version of JAX."""
    devices = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    versions = f"Python {platform.python_version()}, jax {release}"
    used = "" if num_cores() == os.cpu_count() else f"{num_cores()} of "
    return f"{used}{os.cpu_count()} cores of {platform.machine()}, devices {devices}, {versions}"


def record(label: str, spec: RunSpec, result: Any) -> dict[str, Any]:
    """What is kept of a run: its settings, summary, and thinned curves of every setting and seed."""
    updates = result.metrics["entropy"].shape[-1]
    points = np.unique(np.linspace(0, updates - 1, POINTS).astype(int))
    return {
        "label": label,
        "settings_labels": setting_labels(spec),
        "first_entropy": _rounded(result.metrics["entropy"][..., 0]),
        "first_round_reward": _rounded(result.metrics["round_reward"][..., 0]),
        "final_round_reward": _rounded(final_values(result.metrics["round_reward"], updates)),
        "summary": plain(summarize(spec, result)),
        "steps": ((points + 1) * spec.config.round_timesteps).tolist(),
        "curves": {
            name: _rounded(_windowed(result.metrics[name], points))
            for name in ("episode_return", "entropy", "round_reward")
        },
    }


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
