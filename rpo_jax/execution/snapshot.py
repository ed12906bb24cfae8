"""The state of a fit between two segments, and the arrays by name that a checkpoint stores of it."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.metrics import METRICS
from rpo_jax.algorithm.rpo import init
from rpo_jax.algorithm.types import TrainingState
from rpo_jax.execution.evaluations import Evaluated
from rpo_jax.typing import JsonObject, PyTree

INFO = ("seconds", "evaluate_seconds", "checkpoint_seconds", "runs_at_once")  # fields of a snapshot that are numbers
_GROWING = (".metrics", ".evaluated.updates", ".evaluated.returns")  # arrays whose shape depends on the update
_ENV_STATE = ".state.env_state"


class Snapshot(NamedTuple):
    """The state of a fit between two segments.

    Attributes:
        state: training states of all runs, NumPy leaves [H, S, ...], with random keys as their data.
        metrics: {name: [H, S, updates]}.
        evaluated: results of the evaluations so far.
        seconds: training time so far, in seconds.
        evaluate_seconds: time of the evaluations so far, in seconds.
        checkpoint_seconds: time of the checkpoints so far, in seconds.
        runs_at_once: number of runs in one call, on which rounding depends.
    """

    state: TrainingState
    metrics: dict[str, np.ndarray]
    evaluated: Evaluated
    seconds: float
    evaluate_seconds: float
    checkpoint_seconds: float
    runs_at_once: int


def snapshot_bytes(agent: Agent, num_runs: int, num_evaluations: int, num_episodes: int) -> int:
    """Computes the bytes of the arrays of the last snapshot of a fit, from the shapes of its states.

    Args:
        agent: from `make_agent`.
        num_runs: number of runs.
        num_evaluations: number of evaluations during training.
        num_episodes: number of episodes of each policy per evaluation.

    Returns:
        The number of bytes.
    """
    state = state_shapes(agent)
    best = tree_bytes(state.policy) if num_evaluations else 0
    numbers = agent.config.num_updates * len(METRICS) + num_evaluations * num_episodes
    return num_runs * (tree_bytes(state) + best + 4 * numbers)


@lru_cache(maxsize=4)
def state_shapes(agent: Agent) -> TrainingState:
    """Computes the shapes and dtypes of the state of a run, leaves [...].

    Args:
        agent: from `make_agent`.

    Returns:
        The shapes and dtypes.
    """
    return jax.eval_shape(partial(init, agent), agent.variant.hyperparams_type(), jax.random.key(0))


def tree_bytes(tree: PyTree) -> int:
    """Computes the bytes of all arrays of a tree.

    Args:
        tree: arrays, or their shapes and dtypes.

    Returns:
        The number of bytes.
    """
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def updates_of(snapshot: Snapshot) -> int:
    """Returns the number of updates before a snapshot.

    Args:
        snapshot: state of a fit.

    Returns:
        The number of updates.
    """
    return next(iter(snapshot.metrics.values())).shape[-1]


def flatten(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """Lists the arrays of a snapshot, except for empty ones, which Orbax does not store.

    Args:
        snapshot: state of a fit.

    Returns:
        Arrays by their path in the snapshot.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(snapshot._replace(**dict.fromkeys(INFO)))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves if np.size(leaf)}


def unflatten(arrays: dict[str, np.ndarray], like: Snapshot) -> Snapshot:
    """Puts the arrays of `flatten` back into a snapshot.

    Args:
        arrays: arrays by their path.
        like: the snapshot of the same fit before the first update; shapes and dtypes are enough.

    Returns:
        The snapshot, with the fields of `INFO` set to None.

    Raises:
        ValueError: if names, shapes or dtypes do not match those of `like`, apart from the number of updates.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(like._replace(**dict.fromkeys(INFO)))
    expected = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    arrays = {name: leaf for name, leaf in expected.items() if 0 in leaf.shape} | arrays
    # Earlier versions carried all that Brax and Playground returned, also what no step reads.
    arrays = {name: leaf for name, leaf in arrays.items() if name in expected or not name.startswith(_ENV_STATE)}
    arrays |= _unknown_then(arrays, expected)
    kinds = {name: (leaf.shape, leaf.dtype) for name, leaf in expected.items() if not name.startswith(_GROWING)}
    same = set(arrays) == set(expected) and all(
        (arrays[name].shape, arrays[name].dtype) == kinds[name] for name in kinds
    )
    if not same or not _have_grown(arrays, expected):
        dtypes = ((array.dtype for array in arrays.values()), (dtype for _, dtype in kinds.values()))
        raise ValueError(f"its arrays do not match those of the run{precision_hint(*dtypes)}")
    return jax.tree.unflatten(tree, [arrays[name] for name in expected])


def _have_grown(arrays: dict[str, np.ndarray], expected: Mapping[str, Any]) -> bool:
    """Whether the arrays of `_GROWING` differ from the expected ones in the number of updates or evaluations only."""
    counts: dict[str, set[int]] = {".metrics": set(), ".evaluated": set()}
    for name, like in expected.items():
        if name.startswith(_GROWING):
            axis, shape = like.shape.index(0), arrays[name].shape
            if (len(shape), arrays[name].dtype) != (len(like.shape), like.dtype):
                return False
            if (*shape[:axis], 0, *shape[axis + 1 :]) != like.shape:
                return False
            counts[next(group for group in counts if name.startswith(group))].add(shape[axis])
    return all(len(count) == 1 for count in counts.values())


def precision_hint(found: Iterable[np.dtype], expected: Iterable[np.dtype]) -> str:
    """Explains that arrays were written by a process of the other precision.

    Args:
        found: dtypes of the arrays.
        expected: dtypes that this process would write.

    Returns:
        The text; empty if they were not.
    """
    doubled, own = (any(jnp.issubdtype(dtype, np.float64) for dtype in dtypes) for dtypes in (found, expected))
    if doubled == own:
        return ""
    how = ("with JAX_ENABLE_X64=1, which is not set" if doubled else "without JAX_ENABLE_X64, which is set") + " here"
    return f": it was written {how}"


def _unknown_then(arrays: dict[str, np.ndarray], expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns NaN for metrics that the version which wrote the arrays did not have."""
    metrics = {name for name in expected if name.startswith(".metrics")}
    known = next((leaf for name, leaf in arrays.items() if name in metrics and leaf.size), None)
    if known is None:
        return {}
    return {name: np.full_like(known, np.nan) for name in metrics if not arrays[name].size}


def digest(arrays: dict[str, np.ndarray], info: JsonObject) -> str:
    """Computes the SHA-256 digest of a checkpoint.

    Args:
        arrays: arrays by name; names, dtypes, shapes and contents count.
        info: metadata; its entry "digest", if any, is left out.

    Returns:
        64 hexadecimal digits.
    """
    metadata = {name: value for name, value in info.items() if name != "digest"}
    total = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.view(np.uint8).data if array.size else b"")
    return total.hexdigest()
