"""Files that are written whole or not at all, and what is plain enough for JSON."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rpo_jax.errors import SettingsError

DIGEST = "digest"


def make_folder(folder: Path) -> None:
    """Makes a folder if it is not there; raises a SettingsError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SettingsError(f"{folder} is a file, and a folder is needed; choose another --out") from None
    except OSError as error:
        raise SettingsError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from None


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of `path` once it is whole and on the disk.

    Until then its name is hidden, and readers of the folder pass over it.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON; "inf" and null stand for infinity and NaN, which it does not have."""
    with written_whole(path) as part:
        part.write_text(json.dumps(plain(content), indent=2, allow_nan=False) + "\n")


def plain(x: Any) -> Any:
    """As JSON holds it: lists for tuples, "inf" and null for infinity and NaN."""
    if isinstance(x, np.generic):
        x = x.item()
    if isinstance(x, dict):
        return {name: plain(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [plain(value) for value in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None if math.isnan(x) else str(x)
    return x


def digest_of(described: dict[str, Any]) -> str:
    """SHA-256 of settings or a summary, as their file holds them; an entry `DIGEST` does not count."""
    own = {name: value for name, value in plain(described).items() if name != DIGEST}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
