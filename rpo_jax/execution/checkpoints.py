"""Checkpoints of a fit, stored by Orbax: written atomically, and used only if their digest is right."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rpo_jax.errors import SettingsError
from rpo_jax.execution.snapshot import INFO, Snapshot, digest, flatten, unflatten, updates_of
from rpo_jax.typing import JsonObject

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

FOLDER = "checkpoints"
LATEST = 2  # checkpoints that are kept
LEAST_SECONDS = 60.0  # between two checkpoints
SHARE = 0.02  # most of the time that saving may take
PATIENCE = 3600.0  # seconds without a checkpoint, though all attempts failed, after which training ends
FOLDER_SETTINGS = "settings of the folder"  # name of their digest, beside those of `identify`


class Stored(NamedTuple):
    """A checkpoint whose digest is right.

    Attributes:
        arrays: arrays by name.
        info: metadata.
    """

    arrays: dict[str, np.ndarray]
    info: JsonObject

    @property
    def runs_at_once(self) -> int:
        """The number of runs in one call when it was written."""
        return self.info["runs_at_once"]

    def snapshot(self, like: Snapshot) -> Snapshot:
        """Restores the snapshot.

        Args:
            like: the snapshot of the same fit before the first update; shapes and dtypes are enough.

        Returns:
            The snapshot that was saved.

        Raises:
            SettingsError: if the arrays of the checkpoint do not match `like`.
        """
        info = {name: self.info[name] for name in INFO}
        try:
            return unflatten(self.arrays, like)._replace(**info)
        except ValueError as error:
            raise SettingsError(f"the checkpoint was written by another version of rpo_jax: {error}") from None


class Checkpoints:
    """The checkpoints of a run folder.

    A checkpoint contains a digest of its content and of the settings of the run: a damaged checkpoint is ignored, and
    one of other settings is refused. Orbax stores arrays and JSON, which cannot contain code.
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        versions: Mapping[str, str | None] = MappingProxyType({}),
        seconds: float = LEAST_SECONDS,
        share: float = SHARE,
    ):
        """Opens the checkpoints of a folder, in its subfolder `FOLDER`; it need not exist.

        Args:
            folder: folder of the run.
            settings: identifies what `fit` does not know about the run, such as a digest of its settings.
            versions: versions of packages and devices by name. If they differ from those of a checkpoint, resuming
                warns, since results may differ.
            seconds: least number of seconds between two checkpoints. The interval is longer if saving takes more than
                `share` of it.
            share: largest share of the time that saving may take.
        """
        self._folder = (folder / FOLDER).absolute()
        self._settings = settings
        self._versions = versions
        self._seconds, self._share = seconds, share
        self._next = time.monotonic() + self._seconds
        self._saved, self._written = -1, time.monotonic()

    def due(self) -> bool:
        """Returns whether a checkpoint should be written now."""
        return time.monotonic() >= self._next

    def save(self, snapshot: Snapshot, identity: Mapping[str, str]) -> None:
        """Writes a checkpoint, unless this update has one, and removes old ones.

        If writing fails, earlier checkpoints are kept, a warning is logged, and the next one is due as usual.

        Args:
            snapshot: state of the fit.
            identity: digests of what the fit trains, from `identify`.

        Raises:
            SettingsError: if none could be written for `PATIENCE` seconds.
        """
        began, updates = time.monotonic(), updates_of(snapshot)
        if updates == self._saved:
            return
        arrays = flatten(snapshot)
        info: JsonObject = {"settings": {FOLDER_SETTINGS: self._settings, **identity}}
        info |= {"versions": dict(self._versions)}
        info |= {name: getattr(snapshot, name) for name in INFO}
        info["digest"] = digest(arrays, info)
        try:
            with self._manager() as (manager, args):
                parts = {"arrays": args.StandardSave(arrays), "info": args.JsonSave(info)}
                manager.save(updates, args=args.Composite(**parts), force=True)
        except Exception as error:  # the file system and Orbax raise all kinds of errors
            self._next = time.monotonic() + self._seconds
            message = f"no checkpoint could be written to {self._folder}: {_one_line(error)}"
            if time.monotonic() - self._written > PATIENCE:
                raise SettingsError(f"{message}; the last attempts all failed") from error
            logging.getLogger("rpo_jax").warning(f"{message}; training continues")
            return
        self._saved, self._written = updates, time.monotonic()
        self._next = self._written + max(self._seconds, (self._written - began) / self._share)

    def latest(self, identity: Mapping[str, str]) -> Stored | None:
        """Reads the latest checkpoint that is not damaged, and deletes later ones.

        Args:
            identity: digests of what is trained, from `identify`.

        Returns:
            The checkpoint; None if there are no checkpoints.

        Raises:
            SettingsError: if all checkpoints are damaged, or the checkpoint is of other settings.
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
                        raise ValueError("its content does not match its digest")
                except Exception as error:  # a damaged file can cause any error
                    logging.getLogger("rpo_jax").warning(
                        f"the checkpoint of update {step} is damaged and ignored: {_one_line(error)}"
                    )
                else:
                    self._check(stored, identity)
                    for damaged in steps[:index]:  # training will write them again
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
                f"the checkpoints in {self._folder} are of other settings than those of the run: {', '.join(other)}"
            )
        recorded = stored.info["versions"]  # an earlier rpo_jax recorded fewer
        changed = [name for name, version in self._versions.items() if recorded.get(name, version) != version]
        if changed:
            logging.getLogger("rpo_jax").warning(
                f"{' and '.join(changed)} changed since the checkpoint was written: results may differ"
            )

    @contextlib.contextmanager
    def _manager(self) -> "Iterator[tuple[CheckpointManager, ModuleType]]":
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=LATEST, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        with ocp.CheckpointManager(self._folder, options=options) as manager:
            yield manager, ocp.args


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
