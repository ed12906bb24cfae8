"""Disk space: an estimate of what a run needs, and a check that it is available."""

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.errors import SettingsError
from rpo_jax.execution import checkpoints
from rpo_jax.execution.memory import mebibytes
from rpo_jax.execution.snapshot import snapshot_bytes, state_shapes, tree_bytes
from rpo_jax.files import existing_folder
from rpo_jax.settings.grid import num_settings
from rpo_jax.settings.spec import RunSpec

CELL = 12  # approximate bytes of a number in a table


class DiskSpace(NamedTuple):
    """Approximate number of bytes that a run needs on disk.

    Attributes:
        results: bytes of tables and policies.
        checkpoints: bytes of all checkpoints that exist at the same time.
    """

    results: int
    checkpoints: int


def estimate(spec: RunSpec, agent: Agent) -> DiskSpace:
    """Estimates the disk space of a run from the shapes of its states, without computing them.

    Args:
        spec: specification of the run.
        agent: its agent.

    Returns:
        The disk space.
    """
    runs = num_settings(spec.hyperparams) * len(spec.seeds)
    numbers = runs * spec.config.num_updates * len(METRICS)
    policies = runs * tree_bytes(state_shapes(agent).policy) * (2 if spec.num_evaluations else 1)
    evaluations = min(spec.num_evaluations, spec.config.num_updates)  # of an update one
    one = snapshot_bytes(agent, runs, evaluations, spec.evaluation_episodes)
    # A new checkpoint is written before the oldest one is removed.
    return DiskSpace(results=CELL * numbers + policies, checkpoints=(checkpoints.LATEST + 1) * one)


def check(spec: RunSpec, agent: Agent, folder: Path) -> DiskSpace:
    """Estimates the disk space of a run, and checks that it is available.

    Args:
        spec: specification of the run.
        agent: its agent.
        folder: folder of the run, which need not exist yet.

    Returns:
        The disk space.

    Raises:
        SettingsError: if less is free on the folder's disk, where existing checkpoints of the run count as free; or the
            folder cannot be created.
    """
    needed = estimate(spec, agent)
    free = shutil.disk_usage(existing_folder(folder)).free + _held(folder / checkpoints.FOLDER)
    if sum(needed) > free:
        raise SettingsError(
            f"the run would take about {mebibytes(sum(needed))} on disk, and {mebibytes(free)} are free: checkpoints "
            f"{mebibytes(needed.checkpoints)}, results {mebibytes(needed.results)}{_advice(spec)}"
        )
    return needed


def _held(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _advice(spec: RunSpec) -> str:
    """Returns advice for an error message: the change of a setting that saves most disk space."""
    config, half = spec.config, len(spec.seeds) // 2

    def sized(**change: int) -> RunSpec:
        return dataclasses.replace(spec, config=dataclasses.replace(config, **change))

    changes: dict[str, Callable[[], RunSpec]] = {
        f"--num-steps {2 * config.num_steps}": lambda: sized(num_steps=2 * config.num_steps),
        f"--num-envs {config.num_envs // 2}": lambda: sized(num_envs=config.num_envs // 2),
    }
    if half:
        changes[f"--num-seeds {half}"] = lambda: dataclasses.replace(spec, seeds=spec.seeds[:half])
    sizes = {}
    for name, change in changes.items():
        with contextlib.suppress(SettingsError):  # the change is incompatible with the other settings
            other = change()
            sizes[name] = sum(estimate(other, other.agent()))
    best = min(sizes, key=lambda name: sizes[name], default=None)
    return f"; with {best} it would take about {mebibytes(sizes[best])}" if best else ""
