"""Training by several processes of JAX's distributed runtime: what one of them decides, all do.

All processes call the same functions in the same order. Decisions that follow a clock are those of the first process; a
stop that any of them asks for, or an error in one, stops all. With one process nothing is exchanged.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import numpy as np
from jax.sharding import Sharding

from rpo_jax.errors import LostProcessError, SettingsError, SimulatorError
from rpo_jax.keys import data_of_keys, is_key, with_keys
from rpo_jax.typing import Device, JsonObject

LOST = ("Gloo", "NCCL", "UNAVAILABLE", "heartbeat", "coordination service", "DEADLINE_EXCEEDED")  # as JAX says it

SHARED = "_of_all_processes"  # attribute of errors that all processes raise at the same place
INFO = "info"  # name of the JSON object among the arrays that are sent

Message: TypeAlias = tuple[dict[str, np.ndarray], JsonObject]
Result = TypeVar("Result")
ErrorType = TypeVar("ErrorType", bound=BaseException)
Tree = TypeVar("Tree")


class Decision(NamedTuple):
    """What a process wants to do between two segments.

    Attributes:
        signals: number of signals that it received; the most of all processes count.
        enough: whether its `on_progress` asked to stop; that of any process counts.
        save: whether a checkpoint is due; that of the first process counts.
        updates: number of updates of the next segment; that of the first process counts.
    """

    signals: int = 0
    enough: bool = False
    save: bool = False
    updates: int = 1

    @property
    def stops(self) -> bool:
        """Whether training ends here."""
        return self.enough or self.signals > 0


def are_several() -> bool:
    """Returns whether several processes train together."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Returns whether this is the process that reports and writes files."""
    return jax.process_index() == 0


def agree(decide: Callable[[], Decision]) -> Decision:
    """Returns what all processes do, of what each decides.

    Args:
        decide: returns what this process wants to do.

    Raises:
        SettingsError: if `decide` raised an error in another process; its own is raised as it is.
    """
    own = together(decide)
    if not are_several():
        return own
    words = _gather(np.asarray(own, np.int32))  # [processes, fields]
    signals, enough, *_ = (int(word) for word in words.max(0))
    return Decision(signals, bool(enough), bool(words[0, 2]), int(words[0, 3]))


def together(function: Callable[[], Result]) -> Result:
    """Calls a function, which exchanges nothing, in every process, and returns its own result.

    Raises:
        SettingsError: if the function raised an error in another process; its own is raised as it is.
    """
    with shared_errors():
        return function()


@contextlib.contextmanager
def shared_errors() -> Iterator[None]:
    """Ends the block of all processes with an error if that of one does. In the block nothing is exchanged.

    Raises:
        SimulatorError: if an environment failed in the block of another process.
        SettingsError: if the block of another process raised another error; its own is raised as it is.
    """
    if not are_several():
        yield
        return
    error = None
    try:
        yield
    except BaseException as caught:
        error = caught
    kind = 0 if error is None else 1 if isinstance(error, SimulatorError) else 2
    kinds = _gather(np.array([kind], np.int32))[:, 0]
    if worst := int(kinds.max()):
        told = f"process {int(np.argmax(kinds))} of the job stopped; it says why"
        other = SimulatorError(told) if worst == 1 else SettingsError(told)
        raise of_all(other if error is None or kind < worst else error)


def of_all(error: ErrorType) -> ErrorType:
    """Marks and returns an `error` that all processes raise at the same place, so that they can go on together."""
    setattr(error, SHARED, True)
    return error


def is_of_one(error: BaseException) -> bool:
    """Returns whether only this process raises an `error`: it can exchange nothing with the others any more."""
    return are_several() and not getattr(error, SHARED, False)


def in_first(function: Callable[[], None]) -> None:
    """Calls a `function` in the first process only; an error there is one of all, as of `together`."""
    together(lambda: function() if is_first() else None)


def check_same(digests: Mapping[str, str]) -> None:
    """Checks that all processes train the same.

    Args:
        digests: digests of what this process trains, hexadecimal, by name of the part.

    Raises:
        SettingsError: if they differ.
    """
    if not are_several():
        return
    all_of_them = _gather(np.array([int(digest[:7], 16) for digest in digests.values()], np.int32))
    other = [name for name, column in zip(digests, all_of_them.T, strict=True) if (column != column[0]).any()]
    if other:
        raise of_all(SettingsError(f"the processes of the job were given other settings: {', '.join(other)}"))


def least(number: int | None) -> int | None:
    """Returns the least `number` of all processes; None if one of them does not know it."""
    if not are_several():
        return number
    numbers = _gather_count(-1 if number is None else number)
    return None if min(numbers) < 0 else min(numbers)


def from_first(make: Callable[[], Message]) -> Message:
    """Returns the arrays and the JSON object that the first process makes.

    Args:
        make: makes them; called there only.

    Raises:
        SettingsError: if it raised an error there; in the first process that error is raised as it is.
    """
    if not are_several():
        return make()
    from jax.experimental.multihost_utils import broadcast_one_to_all

    own = together(lambda: _pack(*make()) if is_first() else b"")
    size = _gather_count(len(own))[0]
    content = np.asarray(broadcast_one_to_all(np.frombuffer(own or bytes(size), np.uint8)))
    with np.load(io.BytesIO(content.astype(np.uint8).tobytes())) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop(INFO)))


def _pack(arrays: Mapping[str, np.ndarray], info: JsonObject) -> bytes:
    file = io.BytesIO()
    members: dict[str, Any] = {**arrays, INFO: json.dumps(info)}
    np.savez(file, **members)
    return file.getvalue()


def own_rows(count: int) -> np.ndarray:
    """Returns the indices of this process's part of `count` rows; the last row is repeated, so that parts are equal."""
    size = -(-count // jax.process_count())
    return np.minimum(size * jax.process_index() + np.arange(size), count - 1)


def gather_rows(rows: np.ndarray) -> np.ndarray:
    """Returns the `rows` [n, ...] of all processes [processes * n, ...], in the order of `own_rows`."""
    return _gather(rows).reshape(-1, *rows.shape[1:])


def check_all_used(devices: Sequence[Device]) -> None:
    """Checks that every process trains.

    Args:
        devices: the devices that are used.

    Raises:
        SettingsError: if one has none of them.
    """
    used = len({device.process_index for device in devices})
    if used < jax.process_count():
        told = (
            f"only {used} of {jax.process_count()} processes would train: independent runs take a device each, and the "
            "environments of a run are shared by as many devices as divide num_envs / num_minibatches"
        )
        raise of_all(SettingsError(told))


def put(tree: Tree, sharding: Sharding) -> Tree:
    """Puts arrays that every process has on the devices of all.

    Args:
        tree: the same arrays, or random keys, in every process.
        sharding: how they are sharded.

    Returns:
        The same tree of sharded arrays.
    """
    if not are_several():
        return jax.device_put(tree, sharding)

    def place(x):
        if is_key(x):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)), impl=jax.random.key_impl(x))
        array = np.asarray(x)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(place, tree)


def own_part(tree: Tree) -> Tree:
    """Returns the parts of a `tree` of sharded arrays that this process has, joined along the first axis."""
    if not are_several():
        return tree
    return jax.tree.map(lambda x: np.concatenate([np.asarray(part.data) for part in x.addressable_shards]), tree)


def fetch(tree: Tree) -> Tree:
    """Returns a `tree` of arrays on the devices of all processes as NumPy arrays, and random keys, in each."""
    if not are_several():
        return with_keys(jax.device_get(data_of_keys(tree)), tree)
    from jax.experimental.multihost_utils import process_allgather

    def whole(x):
        addressable = not isinstance(x, jax.Array) or x.is_fully_addressable
        return np.asarray(x if addressable else process_allgather(x, tiled=True))

    return with_keys(jax.tree.map(whole, data_of_keys(tree)), tree)


def is_loss(error: BaseException) -> bool:
    """Returns whether JAX raised an `error` because another process has died."""
    raised = isinstance(error, jax.errors.JaxRuntimeError | ValueError)
    return are_several() and raised and any(word in str(error) for word in LOST)


@contextlib.contextmanager
def told_of_loss() -> Iterator[None]:
    """Turns what JAX raises in the block when another process has died into a `LostProcessError`."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if is_loss(error):
            raise LostProcessError(
                "another process of the job has ended; start the job again, and it goes on from its last checkpoint"
            ) from error
        raise


def _gather(numbers: np.ndarray) -> np.ndarray:
    """Returns the numbers [...] of every process [processes, ...]."""
    from jax.experimental.multihost_utils import process_allgather

    return np.asarray(process_allgather(numbers)).reshape(-1, *numbers.shape)


def _gather_count(count: int) -> list[int]:
    """Returns the count of every process; it may be too large for the 32 bits that JAX has."""
    halves = _gather(np.array(divmod(count, 2**30), np.int32))
    return [high * 2**30 + low for high, low in halves.tolist()]
