"""Checkpoints of a fit, by Orbax: written whole or not at all, and read only if every bit is as it was."""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.types import TrainingState
from rpo_jax.errors import SettingsError
from rpo_jax.execution.evaluations import Evaluated

FOLDER = "checkpoints"
LATEST = 2  # are kept
LEAST_SECONDS = 60.0  # between two
SHARE = 0.02  # of the time that saving may take
INFO = ("seconds", "evaluate_seconds", "checkpoint_seconds", "runs_at_once")  # of a snapshot, beside its arrays
FOLDER_SETTINGS = "settings of the folder"
_GROWING = (".metrics", ".evaluated.updates", ".evaluated.returns")


class Snapshot(NamedTuple):
    """Where a fit is between two segments.

    Attributes:
        state: of every run, leaves [H, S, ...] in NumPy, random keys as their data.
        metrics: {name: [H, S, updates]}.
        evaluated: what evaluations have found.
        seconds: trained so far.
        evaluate_seconds: that evaluations took.
        checkpoint_seconds: that checkpoints took.
        runs_at_once: in one call, on which rounding depends.
    """

    state: TrainingState
    metrics: dict[str, np.ndarray]
    evaluated: Evaluated
    seconds: float
    evaluate_seconds: float
    checkpoint_seconds: float
    runs_at_once: int


class Stored(NamedTuple):
    """A sound checkpoint: arrays by name, and what is told of them in words."""

    arrays: dict[str, np.ndarray]
    info: dict[str, Any]

    @property
    def runs_at_once(self) -> int:
        """In one call when it was written."""
        return self.info["runs_at_once"]

    def snapshot(self, like: Snapshot) -> Snapshot:
        """The snapshot that it is of, which looks like this one of no updates; shapes and types are enough.

        Raises:
            SettingsError: if it does not.
        """
        info = {name: self.info[name] for name in INFO}
        try:
            return unflatten(self.arrays, like)._replace(**info)
        except ValueError as error:
            raise SettingsError(f"a checkpoint is of another version of rpo_jax: {error}") from None


class Checkpoints:
    """The checkpoints of a run folder.

    A checkpoint holds a digest of all that is in it, and of the settings it belongs to: a damaged one is passed over,
    and one of other settings is refused. Orbax stores arrays and JSON; nothing in them is ever run.
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        versions: Mapping[str, str | None] = MappingProxyType({}),
        seconds: float | None = None,
    ):
        """Checkpoints in `folder / FOLDER`.

        Args:
            folder: of the run.
            settings: more about what is trained than `fit` knows, such as a digest of it.
            versions: of packages and the like; it is told where others wrote a checkpoint, since results may differ.
            seconds: least time between two, `LEAST_SECONDS` if None; more where saving takes over `SHARE` of it.
        """
        self._folder = (folder / FOLDER).absolute()
        self._settings = settings
        self._versions = versions
        self._seconds = LEAST_SECONDS if seconds is None else seconds
        self._next = time.monotonic() + self._seconds
        self._saved = -1

    def due(self) -> bool:
        """Whether it is time for one."""
        return time.monotonic() >= self._next

    def save(self, snapshot: Snapshot, identity: Mapping[str, str]) -> None:
        """Writes one, unless it is there, and removes those that are too old.

        Args:
            snapshot: where the fit is.
            identity: what it trains, from `identify`.

        Raises:
            SettingsError: if it cannot be written; those before it are as they were.
        """
        began, updates = time.monotonic(), updates_of(snapshot)
        if updates == self._saved:
            return
        arrays = flatten(snapshot)
        info: dict[str, Any] = {"settings": {FOLDER_SETTINGS: self._settings, **identity}}
        info |= {"versions": dict(self._versions)}
        info |= {name: getattr(snapshot, name) for name in INFO}
        info["digest"] = digest(arrays, info)
        try:
            with self._manager() as (manager, args):
                parts = {"arrays": args.StandardSave(arrays), "info": args.JsonSave(info)}
                manager.save(updates, args=args.Composite(**parts), force=True)
        except Exception as error:  # the file system and Orbax have many
            raise SettingsError(f"no checkpoint could be written to {self._folder}: {_one_line(error)}") from error
        self._saved, now = updates, time.monotonic()
        self._next = now + max(self._seconds, (now - began) / SHARE)

    def latest(self, identity: Mapping[str, str]) -> Stored | None:
        """The last one that is sound; None if there is none at all.

        Args:
            identity: what is trained, from `identify`; a checkpoint of something else is refused.

        Raises:
            SettingsError: if all are damaged, or the last sound one is of other settings.
        """
        if not self._folder.is_dir():
            return None
        with self._manager() as (manager, args):
            steps = sorted(manager.all_steps(), reverse=True)
            for index, step in enumerate(steps):
                try:
                    parts = {"arrays": args.StandardRestore(), "info": args.JsonRestore()}
                    stored = Stored(**dict(manager.restore(step, args=args.Composite(**parts))))
                    if stored.info["digest"] != digest(*stored):
                        raise ValueError("its numbers are not those that were written")
                except Exception as error:  # damage shows itself in as many ways as there are bytes
                    logging.getLogger("rpo_jax").warning(
                        f"the checkpoint of update {step} is damaged, and is passed over: {_one_line(error)}"
                    )
                else:
                    self._check(stored, identity)
                    for damaged in steps[:index]:  # whose place others will take
                        manager.delete(damaged)
                    self._saved = step
                    return stored
        if steps:
            raise SettingsError(f"all checkpoints in {self._folder} are damaged; remove them to train from the start")
        return None

    def _check(self, stored: Stored, identity: Mapping[str, str]) -> None:
        written, own = stored.info["settings"], {FOLDER_SETTINGS: self._settings, **identity}
        if isinstance(written, str):  # before rpo_jax 0.2: two digests, of which only the first can be compared
            written = {FOLDER_SETTINGS: written.partition(" ")[0]}
            if not self._settings:
                raise SettingsError(
                    f"the checkpoints in {self._folder} are of an older version of rpo_jax, and do not say what they "
                    "train; remove them to train from the start"
                )
        if other := [name for name in own if name in written and written[name] != own[name]]:
            raise SettingsError(
                f"the checkpoints in {self._folder} are of other settings than the run's: {', '.join(other)}"
            )
        changed = [name for name, version in self._versions.items() if stored.info["versions"].get(name) != version]
        if changed:
            logging.getLogger("rpo_jax").warning(
                f"{' and '.join(changed)} are others than when this was written: results may differ"
            )

    @contextlib.contextmanager
    def _manager(self) -> Any:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=LATEST, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        with ocp.CheckpointManager(self._folder, options=options) as manager:
            yield manager, ocp.args


def updates_of(snapshot: Snapshot) -> int:
    """Updates that a snapshot has behind it."""
    return next(iter(snapshot.metrics.values())).shape[-1]


def flatten(snapshot: Snapshot) -> dict[str, np.ndarray]:
    """Its arrays by name, but for empty ones, which Orbax does not store."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(snapshot._replace(**dict.fromkeys(INFO)))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves if np.size(leaf)}


def unflatten(arrays: dict[str, np.ndarray], like: Snapshot) -> Snapshot:
    """The snapshot of these arrays.

    Raises:
        ValueError: if they are not those of one that looks like this, whatever the number of updates.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(like._replace(**dict.fromkeys(INFO)))
    expected = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    arrays = {name: leaf for name, leaf in expected.items() if 0 in leaf.shape} | arrays
    arrays |= _unknown_then(arrays, expected)
    kinds = {name: (leaf.shape, leaf.dtype) for name, leaf in expected.items() if not name.startswith(_GROWING)}
    if set(arrays) != set(expected) or any((arrays[name].shape, arrays[name].dtype) != kinds[name] for name in kinds):
        raise ValueError("its arrays are not those of the run")
    return jax.tree.unflatten(tree, [arrays[name] for name in expected])


def _unknown_then(arrays: dict[str, np.ndarray], expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """NaN for metrics that the version which wrote these arrays did not have."""
    metrics = {name for name in expected if name.startswith(".metrics")}
    known = next((leaf for name, leaf in arrays.items() if name in metrics and leaf.size), None)
    if known is None:
        return {}
    return {name: np.full_like(known, np.nan) for name in metrics if not arrays[name].size}


def digest(arrays: dict[str, np.ndarray], info: dict[str, Any]) -> str:
    """SHA-256 of names, types, shapes and contents, and of the words beside them but for a digest."""
    words = {name: value for name, value in info.items() if name != "digest"}
    total = hashlib.sha256(json.dumps(words, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.view(np.uint8).data if array.size else b"")
    return total.hexdigest()


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
