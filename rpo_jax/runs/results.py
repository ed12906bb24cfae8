"""Writing and reading of the metrics, evaluations and policies of a run."""

import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import field_names
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SettingsError
from rpo_jax.execution.evaluations import Evaluated
from rpo_jax.execution.fit import Fit
from rpo_jax.files import DIGEST, atomic_write, digest_of, sha256_of, write_json
from rpo_jax.runs.folder import BEST, EVALUATIONS, METRICS_TABLE, POLICIES, RESULTS, SUMMARY
from rpo_jax.runs.policies import most_bytes, read_policies, write_policies
from rpo_jax.runs.settings import read_spec
from rpo_jax.runs.summary import check_file, damaged, summarize, summary_of
from rpo_jax.settings.grid import num_settings
from rpo_jax.settings.spec import RunSpec, swept_values
from rpo_jax.typing import JsonObject

WHERE = ["setting", "seed", "update", "step"]  # the first columns; those of swept hyperparameters follow
RETURNS = ["return_mean", "return_std", "return_min", "return_max"]  # the last columns of evaluations


class LoadedRun(NamedTuple):
    """A run read from its folder.

    Attributes:
        spec: specification of the run.
        agent: its agent.
        policy: policies, leaves [H, S, ...].
    """

    spec: RunSpec
    agent: Agent
    policy: Policy


def write_results(folder: Path, spec: RunSpec, result: Fit) -> JsonObject:
    """Writes metrics, evaluations, policies and, last, the summary.

    Args:
        folder: folder of the run.
        spec: specification of the run.
        result: what was trained.

    Returns:
        The summary.

    Raises:
        SettingsError: if a file cannot be written.
    """
    summary, evaluated = summarize(spec, result), result.evaluated
    try:
        with atomic_write(folder / METRICS_TABLE) as path:
            _write_metrics(path, spec, result.metrics)
        if evaluated and evaluated.updates.size:
            with atomic_write(folder / EVALUATIONS) as path:
                _write_evaluations(path, spec, evaluated)
            write_policies(folder / BEST, evaluated.best)
        write_policies(folder / POLICIES, result.state.policy)
        write_summary(folder, summary)
    except OSError as error:
        raise SettingsError(
            f"the results could not be written: {error.strerror}; fix that, and then run: rpo-jax resume {folder}"
        ) from None
    return summary


def write_summary(folder: Path, summary: JsonObject) -> None:
    """Adds the digests of all results to a summary, and writes it.

    Args:
        folder: folder of the run, which holds the results.
        summary: the summary.
    """
    summary["files"] = {name: sha256_of(folder / name) for name in RESULTS if (folder / name).exists()}
    summary[DIGEST] = digest_of(summary)
    write_json(folder / SUMMARY, summary)


def _write_metrics(path: Path, spec: RunSpec, metrics: dict[str, np.ndarray]) -> None:
    with path.open("w", newline="") as file:
        writer, swept = csv.writer(file), swept_values(spec)
        writer.writerow([*WHERE, *swept[0], *METRICS])
        for setting, run in np.ndindex(metrics["entropy"].shape[:2]):
            rows = np.stack([metrics[name][setting, run] for name in METRICS], axis=-1).tolist()
            for update, row in enumerate(rows, start=1):
                numbers = ("" if math.isnan(x) else f"{x:.7g}" for x in (*swept[setting].values(), *row))
                writer.writerow([setting, spec.seeds[run], update, update * spec.config.round_timesteps, *numbers])


def _write_evaluations(path: Path, spec: RunSpec, evaluated: Evaluated) -> None:
    with path.open("w", newline="") as file:
        writer, swept = csv.writer(file), swept_values(spec)
        writer.writerow([*WHERE, *swept[0], *RETURNS])
        for setting, run in np.ndindex(evaluated.returns.shape[:2]):
            for update, returns in zip(evaluated.updates.tolist(), evaluated.returns[setting, run], strict=True):
                measured = returns.mean(), returns.std(), returns.min(), returns.max()
                numbers = (f"{x:.7g}" for x in (*swept[setting].values(), *measured))
                writer.writerow([setting, spec.seeds[run], update, update * spec.config.round_timesteps, *numbers])


def load_run(folder: Path | str, best: bool = False) -> LoadedRun:
    """Reads a run from its folder.

    Args:
        folder: folder of the run.
        best: whether to read, for each run, the policy with the best evaluation instead of the last one.

    Returns:
        The specification of the run, its agent, and its policies, leaves [H, S, ...].

    Raises:
        SettingsError: if the folder holds no run, or one that is unfinished, damaged or of another version.
    """
    folder = Path(folder)
    spec, agent = read_spec(folder)
    if best and not spec.num_evaluations:
        raise SettingsError(f"{folder} holds no evaluations to select the best policy by: train with --num-evaluations")
    path, summary = folder / (BEST if best else POLICIES), summary_of(folder, spec)
    shape = num_settings(spec.hyperparams), len(spec.seeds)
    check_file(path, summary, most_bytes(agent, shape))
    return LoadedRun(spec, agent, read_policies(path, agent, shape))


def read_metrics(folder: Path, spec: RunSpec) -> dict[str, np.ndarray]:
    """Reads the metrics of a trained run, with the precision of the table.

    Args:
        folder: folder of the run.
        spec: specification of the run.

    Returns:
        Metrics {name: [H, S, updates]}.

    Raises:
        SettingsError: if the table is missing or damaged.
    """
    path, shape = folder / METRICS_TABLE, (num_settings(spec.hyperparams), len(spec.seeds), -1)
    rows = 1 + spec.config.num_updates * shape[0] * shape[1]
    check_file(path, summary_of(folder, spec), rows * _most_row(spec))
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if not {*WHERE, "entropy"} <= set(reader.fieldnames or ()):
                raise damaged(path)
            table = list(reader)
        # A table of an older version may lack some metrics.
        return {name: np.array([float(row.get(name) or "nan") for row in table]).reshape(shape) for name in METRICS}
    except (ValueError, csv.Error):
        raise damaged(path) from None


def _most_row(spec: RunSpec) -> int:
    """Bytes of a row of a table, at most."""
    return 64 * (len(WHERE) + len(METRICS) + len(field_names(spec.hyperparams)))


def read_evaluations(folder: Path, spec: RunSpec) -> tuple[np.ndarray, np.ndarray] | None:
    """Reads the evaluations of a trained run, with the precision of the table.

    Args:
        folder: folder of the run.
        spec: specification of the run.

    Returns:
        The number of updates before each of E evaluations [E], and the mean returns [H, S, E]; None if there were
        none.

    Raises:
        SettingsError: if the table is missing or damaged.
    """
    path, shape = folder / EVALUATIONS, (num_settings(spec.hyperparams), len(spec.seeds))
    if not spec.num_evaluations:
        return None
    check_file(path, summary_of(folder, spec), (1 + spec.num_evaluations * shape[0] * shape[1]) * _most_row(spec))
    try:
        with path.open(newline="") as file:
            table = [(int(row["update"]), float(row["return_mean"])) for row in csv.DictReader(file)]
        updates, means = np.array(table).T.reshape(2, *shape, -1)
    except (ValueError, KeyError, TypeError, csv.Error):
        raise damaged(path) from None
    return updates[0, 0].astype(np.int64), means
