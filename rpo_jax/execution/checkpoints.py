"""Checkpoints of a fit, stored by Orbax: written atomically, and used only if their digest is right."""

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rpo_jax.errors import SettingsError, described
from rpo_jax.execution.processes import are_several, from_first, in_first
from rpo_jax.execution.snapshot import INFO, Snapshot, digest, flatten, unflatten, updates_of
from rpo_jax.files import check_no_link
from rpo_jax.schema import check
from rpo_jax.typing import JsonObject

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

FOLDER = "checkpoints"
LATEST = 2  # checkpoints that are kept
LEAST_SECONDS = 60.0  # between two checkpoints
SHARE = 0.02  # most of the time that saving may take
ATTEMPTS, PATIENCE = 3, 3600.0  # number and seconds of attempts that all failed after which training ends
ENTROPY = ".metrics['entropy']"  # name of an array [H, S, U]
SLACK = 2**26  # bytes of what Orbax adds to the arrays
FOLDER_SETTINGS = "settings of the folder"  # name of their digest, beside those of `identify`
KIND: JsonObject = {  # of the metadata
    **dict.fromkeys(INFO, float),
    "runs_at_once": int,
    "settings": (str, {str: str}),
    "versions": {str: (None, str)},
}


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

    @property
    def updates(self) -> int:
        """The number of updates after which it was written."""
        return self.arrays[ENTROPY].shape[-1]

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
        folder: Path | str,
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
        self._folder = (Path(folder) / FOLDER).absolute()
        self._settings = settings
        self._versions = versions
        self._seconds, self._share = seconds, share
        self._next = time.monotonic() + self._seconds
        self._saved = -1
        self._failures: list[float] = []  # times of the attempts that failed since the last one that did not

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
            SettingsError: if at least `ATTEMPTS` attempts have failed, and all of the last `PATIENCE` seconds.
        """
        numbers = {name: getattr(snapshot, name) for name in INFO}
        write = partial(self._write, updates_of(snapshot), flatten(snapshot), numbers, identity)
        in_first(write)

    def begin_from(self, sources: Sequence[tuple[Stored, Sequence[int]]], identity: Mapping[str, str]) -> None:
        """Writes a checkpoint from which some settings of other fits go on.

        Args:
            sources: checkpoints of fits with the same number of updates that were not evaluated, each with the indices
                of the settings that go on.
            identity: digests of what goes on, from `identify`.

        Raises:
            SettingsError: if it cannot be written.
        """
        chosen = [
            {name: array[np.asarray(settings)] for name, array in stored.arrays.items() if np.ndim(array) > 1}
            for stored, settings in sources
        ]
        arrays = {name: np.concatenate([part[name] for part in chosen]) for name in chosen[0]}
        entropy = arrays[ENTROPY]
        runs = entropy.shape[0] * entropy.shape[1]
        infos = [stored.info for stored, _ in sources]
        calls = -(-runs // max(info["runs_at_once"] for info in infos))
        numbers = {name: sum(info[name] for info in infos) for name in INFO} | {"runs_at_once": -(-runs // calls)}
        self._write(entropy.shape[-1], arrays, numbers, identity)
        if self._failures:
            raise SettingsError(f"no checkpoint could be written to {self._folder}; make room, and resume")

    def _write(
        self, updates: int, arrays: dict[str, np.ndarray], numbers: Mapping[str, float], identity: Mapping[str, str]
    ) -> None:
        began = time.monotonic()
        if updates == self._saved:
            return
        info: JsonObject = {"settings": {FOLDER_SETTINGS: self._settings, **identity}}
        info |= {"versions": dict(self._versions), **numbers}
        info["digest"] = digest(arrays, info)
        try:
            with self._manager() as (manager, args):
                parts = {"arrays": args.StandardSave(arrays), "info": args.JsonSave(info)}
                manager.save(updates, args=args.Composite(**parts), force=True)
        except Exception as error:  # the file system and Orbax raise all kinds of errors
            self._failures.append(began)
            self._next = time.monotonic() + self._seconds
            message = f"no checkpoint could be written to {self._folder}: {described(error)}"
            if len(self._failures) >= ATTEMPTS and began - self._failures[0] >= PATIENCE:
                raise SettingsError(f"{message}; the last {len(self._failures)} attempts all failed") from error
            last = f"the last is that of update {self._saved}" if self._saved > 0 else "there is none so far"
            logging.getLogger("rpo_jax").warning(f"{message}; {last}")
            return
        self._saved, self._failures, ended = updates, [], time.monotonic()
        self._next = ended + max(self._seconds, (ended - began) / self._share)

    def latest(self, identity: Mapping[str, str], size: Callable[[], int]) -> Stored | None:
        """Reads the latest checkpoint that is not damaged, and deletes later ones.

        Of several processes, the first one reads it for all.

        Args:
            identity: digests of what is trained, from `identify`.
            size: computes the bytes of the largest snapshot of the fit; a checkpoint of much more is not read.

        Returns:
            The checkpoint; None if there are no checkpoints.

        Raises:
            SettingsError: if all checkpoints are damaged, the checkpoint is of other settings, or one is a link.
        """
        arrays, info = from_first(lambda: self.read(identity, size) or ({}, {}))
        return Stored(arrays, info) if info else None

    def read(self, identity: Mapping[str, str], size: Callable[[], int]) -> Stored | None:
        """Reads it as `latest` does, in this process only.

        Args:
            identity: digests of what is trained.
            size: computes the bytes of the largest snapshot.

        Returns:
            The checkpoint; None if there are no checkpoints.

        Raises:
            SettingsError: as of `latest`.
        """
        check_no_link(self._folder)
        if not self._folder.is_dir():
            return None
        for path in self._folder.iterdir():  # Orbax removes some
            check_no_link(path)
        with self._manager() as (manager, args):
            steps = sorted(manager.all_steps(), reverse=True)
            most_bytes = 2 * size() + SLACK if steps else 0  # twice, for those of the other precision
            for index, step in enumerate(steps):
                try:
                    _check_size(self._folder / str(step), most_bytes)
                    parts = {"arrays": args.StandardRestore(), "info": args.JsonRestore()}
                    stored = Stored(**dict(manager.restore(step, args=args.Composite(**parts))))
                    if stored.info["digest"] != digest(*stored):
                        raise ValueError("its content does not match its digest")
                    check(stored.info, KIND)
                except Exception as error:  # a damaged file can cause any error
                    logging.getLogger("rpo_jax").warning(
                        f"the checkpoint of update {step} is damaged and ignored: {described(error)}"
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

        check_no_link(self._folder)
        alone = {"active_processes": {0}, "barrier_sync_key_prefix": FOLDER} if are_several() else {}
        options = ocp.CheckpointManagerOptions(
            max_to_keep=LATEST,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
            create=not alone,  # which Orbax refuses to one of several processes
            multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, **alone),
        )
        if alone:
            self._folder.mkdir(parents=True, exist_ok=True)
        with _quiet(), ocp.CheckpointManager(self._folder, options=options) as manager:
            yield manager, ocp.args


def _check_size(folder: Path, most_bytes: int) -> None:
    """Raises a ValueError if a checkpoint is larger than it can be, on disk or by the shapes that it claims."""
    import orbax.checkpoint as ocp
    from etils import epath

    def require(count: int) -> None:
        if count > most_bytes:
            raise ValueError(f"it has {count:,} bytes, and one of this run has {most_bytes:,} at most")

    require(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    claimed = 0
    for array in ocp.StandardCheckpointHandler().metadata(epath.Path(folder / "arrays")).tree.values():
        for shape in (array.shape, array.storage and array.storage.chunk_shape):
            claimed += math.prod(shape) * np.dtype(array.dtype).itemsize if shape else 0
    require(claimed)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Orbax from reporting errors that are reported here: by its log, or by callbacks after it has given up."""
    log, hook = logging.getLogger("absl"), sys.unraisablehook
    level = log.level

    def report(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    log.setLevel(logging.CRITICAL)
    sys.unraisablehook = report
    try:
        yield
    finally:
        log.setLevel(level)
        sys.unraisablehook = hook
