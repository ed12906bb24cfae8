"""The folder of a run: settings, metrics, policies and a summary, in formats that anything can read.

settings.json   what was trained
metrics.csv     one row per setting, seed and update
curves.png      return and entropy over steps
checkpoints/    where training was last; `rpo-jax resume` goes on from there
policies.npz    parameters and normalisation of every trained policy, leaves [H, S, ...]; loads without pickle
evaluations.csv one row per setting, seed and evaluation, if there were any
best.npz        of every run the policy that did best in them
summary.json    final numbers, times, versions, and the digests of the files above
"""

import contextlib
import csv
import dataclasses
import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.algorithm.normalization import Moments
from rpo_jax.algorithm.rpo import init
from rpo_jax.algorithm.types import FAULTS, Policy, TrainingState
from rpo_jax.errors import SettingsError
from rpo_jax.execution.checkpoints import FOLDER as CHECKPOINTS
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.evaluations import Evaluated
from rpo_jax.execution.fit import Failure, Fit
from rpo_jax.settings.grid import check_seeds, num_settings, settings_list
from rpo_jax.settings.spec import RunSpec, setting_labels

FORMAT = 3
SETTINGS, METRICS_TABLE, POLICIES, SUMMARY = "settings.json", "metrics.csv", "policies.npz", "summary.json"
EVALUATIONS, BEST = "evaluations.csv", "best.npz"
COMPARISON = "comparison.json"
DIGEST = "digest"
STACK = ("rpo_jax", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")
PACKAGES = (
    *STACK,
    *("gymnax", "brax", "mujoco", "playground", "envpool", "gymnasium", "pybullet"),
)


class LoadedRun(NamedTuple):
    """A run read back from its folder; policy has leaves [H, S, ...]."""

    spec: RunSpec
    agent: Agent
    policy: Policy


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


def make_folder(folder: Path) -> None:
    """Makes a folder if it is not there; raises a SettingsError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SettingsError(f"{folder} is a file, and a folder is needed; choose another --out") from None
    except OSError as error:
        raise SettingsError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from None


def release(folder: Path) -> None:
    """Gives up a folder whose run came to nothing, so that it can be used again; what was done is kept."""
    if (folder / CHECKPOINTS).exists() or (folder / SUMMARY).exists():
        return
    (folder / SETTINGS).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def write_settings(folder: Path, spec: RunSpec) -> None:
    """Writes settings.json."""
    described = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    del described["num_threads"]  # the machine's, not the run's
    described |= {"config": dataclasses.asdict(spec.config), "hyperparams": settings_list(spec.hyperparams)}
    described |= {"format": FORMAT, "version": _version("rpo_jax")}
    write_json(folder / SETTINGS, described | {DIGEST: _digest(described)})


def checkpoints_of(folder: Path, agent: Agent) -> Checkpoints:
    """The checkpoints of the run whose settings the folder holds."""
    suite = agent.env.name.partition("/")[0]
    versions = {name: _version(name) for name in PACKAGES if name in (*STACK, suite)}
    versions["devices"] = " and ".join(
        f"{n} {kind}" for kind, n in Counter(d.device_kind for d in jax.devices()).items()
    )
    return Checkpoints(folder, _read_settings(folder)[DIGEST], versions)


def is_finished(folder: Path) -> bool:
    """Whether the run there has come to its end, and its results are what was written."""
    try:
        summary = read_summary(folder)
        for name in summary["files"]:
            _check(folder / name, summary)
    except SettingsError:
        return False
    return not summary["interrupted"]


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a run that has been trained.

    Raises:
        SettingsError: if there is none, or it is not what was written.
    """
    path = folder / SUMMARY
    if not path.is_file():
        raise SettingsError(f"{folder} holds no results: there is no {SUMMARY} in it; the run did not finish")
    try:
        summary = json.loads(path.read_text())
        if summary[DIGEST] == _digest(summary):
            return summary
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise _damaged(path)


def _check(path: Path, summary: dict[str, Any]) -> None:
    """Raises a SettingsError if a file is not the one that was there when the summary was written."""
    if not path.is_file():
        raise SettingsError(f"{path.parent} holds no {path.name}: the run did not finish, or the file is gone")
    if _sha256(path) != summary["files"].get(path.name):
        raise _damaged(path)


def _damaged(path: Path) -> SettingsError:
    return SettingsError(
        f"{path} is damaged, or was changed after it was written; rpo-jax resume {path.parent} writes it anew"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_metrics(folder: Path, spec: RunSpec) -> dict[str, np.ndarray]:
    """Metrics {name: [H, S, updates]} of a run that has been trained, as precise as the table has them.

    Raises:
        SettingsError: if the table is not what was written.
    """
    _check(folder / METRICS_TABLE, read_summary(folder))
    with (folder / METRICS_TABLE).open() as file:
        rows = list(csv.DictReader(file))
    shape = (num_settings(spec.hyperparams), len(spec.seeds), -1)
    return {name: np.array([float(row[name] or "nan") for row in rows]).reshape(shape) for name in METRICS}


def _digest(described: dict[str, Any]) -> str:
    """SHA-256 of settings or a summary, as their file holds them."""
    own = {name: value for name, value in plain(described).items() if name != DIGEST}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def write_results(folder: Path, spec: RunSpec, result: Fit) -> dict[str, Any]:
    """Writes metrics, policies and, last, the summary, which it returns.

    Raises:
        SettingsError: if the disk does not take them.
    """
    summary, evaluated = summarize(spec, result), result.evaluated
    try:
        with written_whole(folder / METRICS_TABLE) as path:
            _write_metrics(path, spec, result.metrics)
        if evaluated and evaluated.updates.size:
            with written_whole(folder / EVALUATIONS) as path:
                _write_evaluations(path, spec, evaluated)
            _write_policies(folder / BEST, evaluated.best)
        _write_policies(folder / POLICIES, result.state.policy)
        names = (SETTINGS, METRICS_TABLE, EVALUATIONS, BEST, POLICIES)
        summary["files"] = {name: _sha256(folder / name) for name in names if (folder / name).exists()}
        summary[DIGEST] = _digest(summary)
        write_json(folder / SUMMARY, summary)
    except OSError as error:
        raise SettingsError(
            f"the results could not be written: {error.strerror}; mend that, and then: rpo-jax resume {folder}"
        ) from None
    return summary


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` once it is whole and on the disk.

    Until then its name is hidden, and readers of the folder pass over it.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def summarize(spec: RunSpec, result: Fit) -> dict[str, Any]:
    """The numbers of summary.json; lists of lists are [setting][seed]; the return of a run that diverged is NaN."""
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
        "best_return": result.evaluated.best_return.tolist() if result.evaluated else None,
        "final_entropy": final_values(result.metrics["entropy"], updates).tolist(),
        "total_timesteps": timesteps,
        "compile_seconds": round(result.compile_seconds, 3),
        "train_seconds": round(result.train_seconds, 3),
        "evaluate_seconds": round(result.evaluate_seconds, 3),
        "checkpoint_seconds": round(result.checkpoint_seconds, 3),
        "env_steps_per_second": round(timesteps * runs / max(result.train_seconds, 1e-9), 1),
        "bytes_per_run": result.bytes_per_run,
        "runs_at_once": result.runs_at_once,
        "interrupted": result.interrupted,
        "failure": None if result.failure is None else told(spec, result.failure),
        "faults": _faults(spec, result.state),
        "broken_episodes": int(np.nansum(result.metrics["broken_episodes"])),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def told(spec: RunSpec, failure: Failure) -> str:
    """The setting and seed that failed, and what its environment said."""
    return failure.message if failure.run is None else f"{run_label(spec, *failure.run)}: {failure.message}"


def _faults(spec: RunSpec, state: TrainingState) -> list[dict[str, Any]]:
    """The runs that stopped being finite: when, and what did so first."""
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


def run_label(spec: RunSpec, setting: int, seed: int) -> str:
    """What a run of a sweep is called, by its place [H, S], such as "seed 3 of rpo_alpha=0.5"."""
    label = setting_labels(spec)[setting]
    return f"seed {spec.seeds[seed]}{label and f' of {label}'}"


def final_values(rows: np.ndarray, num_updates: int) -> np.ndarray:
    """Mean over the last 5% of updates: rows [H, S, U] to [H, S].

    Rows without an episode are NaN and do not count: where environments end their episodes together, and none of the
    last 5% has one, the last row that has one is taken.
    """

    def final(row: np.ndarray) -> float:
        known = row[~np.isnan(row)]
        recent = row[-max(1, math.ceil(0.05 * num_updates)) :]
        recent = recent[~np.isnan(recent)]
        if recent.size:
            return float(recent.mean())
        return float(known[-1]) if known.size else math.nan

    return np.apply_along_axis(final, -1, rows) if rows.shape[-1] else np.full(rows.shape[:-1], math.nan)


def load_run(folder: Path, best: bool = False) -> LoadedRun:
    """Reads a run back.

    Args:
        folder: of the run.
        best: take of each run the policy that did best in the evaluations, and not the last one.

    Raises:
        SettingsError: if the folder holds no run, or one that is unfinished, damaged or of another version.
    """
    spec, agent = _read_spec(folder)
    if best and not spec.num_evaluations:
        raise SettingsError(f"{folder} holds no evaluations to know the best by: train with --num-evaluations")
    path, summary = folder / (BEST if best else POLICIES), read_summary(folder)
    for file in (folder / SETTINGS, path):
        _check(file, summary)
    return LoadedRun(spec, agent, _read_policy(path, spec, agent))


def load_spec(folder: Path) -> RunSpec:
    """Reads the settings of a run back.

    Raises:
        SettingsError: if the folder holds no run, or its settings are damaged or of another version.
    """
    return _read_spec(folder)[0]


def _read_spec(folder: Path) -> tuple[RunSpec, Agent]:
    described = _read_settings(folder)
    try:
        spec = _parse_spec(described)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise SettingsError(f"{folder / SETTINGS} is damaged: {error}") from None
    return spec, spec.agent()


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        if not path.is_file():
            parts = sorted(str(part.parent) for part in folder.glob(f"*/{SETTINGS}"))
            hint = f"; did you mean {' or '.join(parts)}?" if parts else ""
            raise SettingsError(f"{folder} holds no run: there is no {SETTINGS} in it{hint}")
        described = json.loads(path.read_text())
        written = described["format"]
    except SettingsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise SettingsError(f"{path} is damaged: it is not what rpo-jax train writes") from None
    if written != FORMAT:
        raise SettingsError(
            f"{folder} was written in format {written}, and this version reads format {FORMAT}; train again"
        )
    if described.get(DIGEST) != _digest(described):
        raise SettingsError(
            f"{path} is damaged, or was changed after it was written: its digest is not that of its text"
        )
    return described


def _parse_spec(described: dict[str, Any]) -> RunSpec:
    texts = {name: described[name] for name in ("env", "variant", "preset", "head", "time_limit")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise SettingsError(f"{', '.join(texts)} are not all text")
    seeds = described["seeds"]
    if not all(type(seed) is int for seed in seeds) or seeds != list(range(seeds[0], seeds[0] + len(seeds))):
        raise SettingsError(f"its seeds {seeds} are not whole numbers in a row")
    check_seeds(seeds[0], len(seeds))
    config: dict[str, Any] = {
        name: tuple(x) if isinstance(x, list) else x for name, x in dict(described["config"]).items()
    }
    return RunSpec(
        **texts,
        backend=described["backend"],
        config=TrainConfig(**config),
        hyperparams=_stack_settings(described["hyperparams"]),
        seeds=seeds,
        num_evaluations=described["num_evaluations"],
        evaluation_episodes=described["evaluation_episodes"],
    )


def _stack_settings(settings: list[dict[str, Any]]) -> Hyperparams:
    """Settings with leaves [H]; a number that an older version did not know has its default."""
    defaults = plain(dataclasses.asdict(Hyperparams()))
    if not settings or any(set(row) != set(settings[0]) or not set(row) <= set(defaults) for row in settings):
        raise SettingsError("its hyperparams are not rows of the numbers that this version knows")
    rows = [defaults | row for row in settings]
    columns: dict[str, Any] = {
        name: None if rows[0][name] is None else np.asarray([float(row[name]) for row in rows], np.float32)
        for name in defaults
    }
    return Hyperparams(**columns)


def _read_policy(path: Path, spec: RunSpec, agent: Agent) -> Policy:
    runs = (num_settings(spec.hyperparams), len(spec.seeds))
    expected = _flatten(jax.eval_shape(lambda key: init(agent, Hyperparams(), key), jax.random.key(0)).policy)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            leaves = {tuple(name.split("/")): stored[name] for name in stored.files}
    except Exception:  # a damaged archive fails in as many ways as there are bytes, and never runs code
        raise SettingsError(f"{path} is damaged: it cannot be read") from None
    found = {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
    if found != {name: (runs + leaf.shape, leaf.dtype) for name, leaf in expected.items()}:
        raise SettingsError(f"{path} is damaged: its arrays are not those of {SETTINGS}")
    tree = traverse_util.unflatten_dict(leaves)
    return Policy(tree["params"], Moments(**tree["obs_moments"]))


def _flatten(policy: Policy) -> dict[tuple[str, ...], Any]:
    return traverse_util.flatten_dict({"params": policy.params, "obs_moments": policy.obs_moments._asdict()})


def _write_policies(path: Path, policy: Policy) -> None:
    leaves: dict[str, Any] = {"/".join(name): np.asarray(leaf) for name, leaf in _flatten(policy).items()}
    with written_whole(path) as part, part.open("wb") as file:
        np.savez(file, **leaves)


def _write_evaluations(path: Path, spec: RunSpec, evaluated: Evaluated) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "seed", "update", "step", "return_mean", "return_std", "return_min", "return_max"])
        for setting, run in np.ndindex(evaluated.returns.shape[:2]):
            for update, returns in zip(evaluated.updates.tolist(), evaluated.returns[setting, run], strict=True):
                numbers = (f"{x:.7g}" for x in (returns.mean(), returns.std(), returns.min(), returns.max()))
                writer.writerow([setting, spec.seeds[run], update, update * spec.config.round_timesteps, *numbers])


def _write_metrics(path: Path, spec: RunSpec, metrics: dict[str, np.ndarray]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["setting", "seed", "update", "step", *METRICS])
        for setting, run in np.ndindex(metrics["entropy"].shape[:2]):
            rows = np.stack([metrics[name][setting, run] for name in METRICS], axis=-1).tolist()
            for update, row in enumerate(rows, start=1):
                numbers = ("" if math.isnan(x) else f"{x:.7g}" for x in row)
                writer.writerow([setting, spec.seeds[run], update, update * spec.config.round_timesteps, *numbers])


def write_json(path: Path, content: Any) -> None:
    """Writes JSON; "inf" and null stand for infinity and NaN, which it does not have."""
    with written_whole(path) as part:
        part.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def plain(x: Any) -> Any:
    """As JSON holds it: lists for tuples, "inf" and null for infinity and NaN."""
    if isinstance(x, np.generic):
        x = x.item()
    if isinstance(x, dict):
        return {name: plain(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [plain(value) for value in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None if math.isnan(x) else str(x)
    return x


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
