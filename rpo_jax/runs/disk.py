"""Disk space: what a run will take, and whether there is as much."""

import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from rpo_jax.agent import Agent
from rpo_jax.config import Hyperparams
from rpo_jax.errors import SettingsError
from rpo_jax.memory import mebibytes
from rpo_jax.metrics import METRICS
from rpo_jax.rpo import init
from rpo_jax.runs import checkpoints
from rpo_jax.runs.spec import RunSpec
from rpo_jax.sweep import num_settings

CELL = 12  # bytes of a number in a table, about


class DiskSpace(NamedTuple):
    """Bytes that a run will take on disk, about.

    Attributes:
        results: tables, pictures and policies.
        checkpoints: all that are there at once.
    """

    results: int
    checkpoints: int


def estimate(spec: RunSpec, agent: Agent) -> DiskSpace:
    """What a run will take, from the shapes of its states; nothing is computed."""
    runs = num_settings(spec.hyperparams) * len(spec.seeds)
    state = jax.eval_shape(partial(init, agent), Hyperparams(), jax.random.key(0))
    numbers = runs * spec.config.num_updates * len(METRICS)
    policies = runs * _size(state.policy) * (2 if spec.num_evaluations else 1)
    one = runs * _size(state) + 4 * numbers + policies
    # The new one is written before the oldest is removed.
    return DiskSpace(results=CELL * numbers + policies, checkpoints=(checkpoints.LATEST + 1) * one)


def check(spec: RunSpec, agent: Agent, folder: Path) -> DiskSpace:
    """The estimate.

    Raises:
        SettingsError: if the disk of that folder has less.
    """
    needed, free = estimate(spec, agent), shutil.disk_usage(folder).free
    if sum(needed) > free:
        raise SettingsError(
            f"the run would take about {mebibytes(sum(needed))} on disk, and {mebibytes(free)} are free: checkpoints "
            f"{mebibytes(needed.checkpoints)}, of which half of num_envs or of num_seeds needs about half; tables "
            f"{mebibytes(needed.results)}, of which twice num_steps needs about half"
        )
    return needed


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
