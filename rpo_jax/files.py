"""Atomic file writes, links, JSON, and digests."""

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rpo_jax.errors import SettingsError

DIGEST = "digest"
MOST_JSON = 2**28  # bytes of a JSON file that is read


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents unless they exist.

    Args:
        folder: the folder to create.

    Raises:
        SettingsError: if the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        if os.path.lexists(folder) and not folder.is_dir():
            raise SettingsError(f"{folder} is a file, and a folder is needed; choose another --out") from None
        make_folder(folder)  # another process has removed it meanwhile
    except OSError as error:
        raise SettingsError(f"cannot create the folder {folder}: {error.strerror}; choose another --out") from None


def existing_folder(folder: Path) -> Path:
    """Returns the folder, or the one of its parents in which it would have to be created.

    Args:
        folder: a folder that need not exist.

    Raises:
        SettingsError: if it cannot be created there.
    """
    found = next(path for path in (folder, *folder.parents) if path.exists())
    if not found.is_dir():
        raise SettingsError(f"{found} is a file, and a folder is needed; choose another --out")
    if not os.access(found, os.W_OK | os.X_OK):
        raise SettingsError(f"cannot write to the folder {found}; choose another --out")
    return found


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Writes a file atomically: `path` is replaced only once the new content is complete and on disk.

    Until then the content is in a hidden file, which readers of the folder ignore. It is deleted if the block fails.

    Args:
        path: the file to create or replace.

    Yields:
        The path to write to instead.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.open("xb").close()  # which follows no link, and takes nothing that another process writes
    try:
        yield part
        _sync(part)
        part.replace(path)
        sync_names(path.parent)
    finally:
        part.unlink(missing_ok=True)


def sync_names(folder: Path) -> None:
    """Waits until the names in a `folder` are on disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parts_of(folder: Path) -> list[Path]:
    """Returns the hidden files that `atomic_write` has left in a folder, where a process was killed in it."""
    return [path for path in folder.glob(".*.part") if re.fullmatch(r"\..+\.[0-9a-f]{8}\.part", path.name)]


def check_no_link(path: Path) -> None:
    """Checks that what is written to a file or folder of a run, or removed from it, is not elsewhere.

    Args:
        path: a file or folder in the folder of a run, which need not exist.

    Raises:
        SettingsError: if it is a symbolic link.
    """
    if path.is_symlink():
        raise SettingsError(
            f"{path} is a link, and nothing is written where it leads; put the folder or file itself in its place"
        )


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ValueError: if it is not JSON, or larger than any that rpo_jax writes.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_JSON:
            raise ValueError(f"it is larger than {MOST_JSON} bytes")
        content = file.read(size)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None


def write_json(path: Path, content: object) -> None:
    """Writes JSON atomically.

    Args:
        path: the file to create or replace.
        content: numbers, strings, lists, tuples and dictionaries, converted by `plain`.
    """
    with atomic_write(path) as part:
        part.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def plain(x: Any) -> Any:
    """Converts a value to what JSON can represent.

    Args:
        x: a number, NumPy scalar or string, or lists, tuples and dictionaries of them.

    Returns:
        The same value with lists for tuples, Python numbers for NumPy scalars, "inf" or "-inf" for infinities, and
        None for NaN.
    """
    if isinstance(x, np.generic):
        x = x.item()
    if isinstance(x, dict):
        return {name: plain(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [plain(value) for value in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None if math.isnan(x) else str(x)
    return x


def digest_of(described: dict[str, object]) -> str:
    """Computes the SHA-256 digest of the content of a JSON file.

    Args:
        described: the content, such as settings or a summary; its entry `DIGEST`, if any, is left out.

    Returns:
        64 hexadecimal digits.
    """
    own = {name: value for name, value in plain(described).items() if name != DIGEST}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Computes the SHA-256 digest of the file `path`: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
