"""Storage of policies in NumPy archives, which are read without pickle."""

import math
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.normalization import Moments
from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SettingsError
from rpo_jax.execution.snapshot import precision_hint, state_shapes
from rpo_jax.files import atomic_write
from rpo_jax.runs.folder import SETTINGS


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
    wanted = _kinds(agent, shape)
    try:
        with zipfile.ZipFile(path) as archive:
            found = {tuple(name.removesuffix(".npy").split("/")): _kind(archive, name) for name in archive.namelist()}
            leaves = {name: _read(archive, name) for name in wanted} if found == wanted else {}
    except Exception:  # a damaged archive can cause any error; it never runs code
        raise SettingsError(f"{path} is damaged: it cannot be read") from None
    if found != wanted:
        shapes = [sorted(kind.shape for kind in kinds.values()) for kinds in (found, wanted)]
        dtypes = [[kind.dtype for kind in kinds.values()] for kinds in (found, wanted)]
        hint = precision_hint(*dtypes) if shapes[0] == shapes[1] else ""
        what = f"cannot be used{hint}" if hint else f"is damaged: its arrays are not those of {SETTINGS}"
        raise SettingsError(f"{path} {what}")
    tree = traverse_util.unflatten_dict(leaves)
    return Policy(tree["params"], Moments(**tree["obs_moments"]))


def most_bytes(agent: Agent, shape: tuple[int, ...]) -> int:
    """Returns the size above which a file cannot be an archive of policies, of either precision.

    Args:
        agent: agent of the policies.
        shape: leading axes of the policies, such as (H, S).
    """
    kinds = _kinds(agent, shape).values()
    return 2**20 + sum(1024 + 2 * math.prod(kind.shape) * kind.dtype.itemsize for kind in kinds)


class Kind(NamedTuple):
    """The kind of an array.

    Attributes:
        shape: its shape.
        dtype: type of its elements.
    """

    shape: tuple[int, ...]
    dtype: np.dtype


def _kinds(agent: Agent, shape: tuple[int, ...]) -> dict[tuple[str, ...], Kind]:
    leaves = _flatten(state_shapes(agent).policy).items()
    return {name: Kind(shape + leaf.shape, leaf.dtype) for name, leaf in leaves}


def _kind(archive: zipfile.ZipFile, name: str) -> Kind:
    """Reads the header of an array, and nothing else: what it holds may be much larger than its file."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = readers[version](file)
    return Kind(shape, dtype)


def _read(archive: zipfile.ZipFile, name: tuple[str, ...]) -> np.ndarray:
    with archive.open("/".join(name) + ".npy") as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError("there is more behind the array")
    return array


def _flatten(policy: Policy) -> dict[tuple[str, ...], Any]:
    return traverse_util.flatten_dict({"params": policy.params, "obs_moments": policy.obs_moments._asdict()})
