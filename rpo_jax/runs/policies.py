"""Storage of policies in NumPy archives, which are read without pickle."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.normalization import Moments
from rpo_jax.algorithm.rpo import init
from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SettingsError
from rpo_jax.execution.snapshot import precision_hint
from rpo_jax.files import atomic_write
from rpo_jax.runs.folder import SETTINGS
from rpo_jax.settings.grid import seeds


def write_policies(path: Path, policy: Policy) -> None:
    """Writes one or more policies to an archive.

    Args:
        path: file to create or replace.
        policy: a single policy, or many with leaves [H, S, ...].
    """
    leaves: dict[str, Any] = {"/".join(name): np.asarray(leaf) for name, leaf in _flatten(policy).items()}
    with atomic_write(path) as part, part.open("wb") as file:
        np.savez(file, **leaves)


def read_policies(path: Path, agent: Agent, shape: tuple[int, ...]) -> Policy:
    """Reads policies of an agent from an archive.

    Args:
        path: the archive.
        agent: from `make_agent`.
        shape: shape of the leading axes: (H, S), or () for a single policy.

    Returns:
        The policies, NumPy leaves [*shape, ...].

    Raises:
        SettingsError: if the archive cannot be read, or its arrays do not match the agent.
    """
    expected = _flatten(jax.eval_shape(lambda key: init(agent, Hyperparams(), key), seeds(0, 1)[0]).policy)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            leaves = {tuple(name.split("/")): stored[name] for name in stored.files}
    except Exception:  # a damaged archive can cause any error; it never runs code
        raise SettingsError(f"{path} is damaged: it cannot be read") from None
    found = {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
    wanted = {name: (shape + leaf.shape, leaf.dtype) for name, leaf in expected.items()}
    if found != wanted:
        shapes, dtypes = ([[kind[part] for kind in kinds.values()] for kinds in (found, wanted)] for part in (0, 1))
        hint = precision_hint(*dtypes) if sorted(shapes[0]) == sorted(shapes[1]) else ""
        what = f"cannot be used{hint}" if hint else f"is damaged: its arrays are not those of {SETTINGS}"
        raise SettingsError(f"{path} {what}")
    tree = traverse_util.unflatten_dict(leaves)
    return Policy(tree["params"], Moments(**tree["obs_moments"]))


def _flatten(policy: Policy) -> dict[tuple[str, ...], Any]:
    return traverse_util.flatten_dict({"params": policy.params, "obs_moments": policy.obs_moments._asdict()})
