"""Run folders whose content is wrong and whose digests are right."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rpo_jax.files import digest_of, sha256_of

OTHERS = (None, True, 5, -1, 1e300, 10**400, "text", [], [[]], {}, [None], {"": {}}, "\x1b[31m[red]", float("nan"))


def commands(folder: Path) -> Iterator[tuple[str, ...]]:
    """The commands that read a folder, but for `resume`."""
    yield "evaluate", str(folder), "--num-episodes", "2"
    yield "play", str(folder), "--max-steps", "2", "--no-open", "--best"
    yield "export", str(folder), "--out", str(folder / "exported")
    yield "train", "--init-from", str(folder), "--total-timesteps", "8192", "--out", str(folder.parent / "new")


def sign(folder: Path) -> None:
    """Makes the digests of a folder right."""
    for name in ("settings.json", "summary.json"):
        described = json.loads((folder / name).read_text())
        if name == "summary.json" and isinstance(described, dict) and isinstance(described.get("files"), dict):
            found = {file: folder / file for file in described["files"] if file and (folder / file).is_file()}
            described["files"] |= {file: sha256_of(path) for file, path in found.items()}
        if isinstance(described, dict):
            described["digest"] = digest_of(described)
        (folder / name).write_text(json.dumps(described))


def places_in(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where anything stands in JSON."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield (*place, key)
        yield from places_in(value, (*place, key))


def changed(content: Any, place: tuple[Any, ...], change: Callable[[Any, Any], Any]) -> Any:
    """A copy in which something stands elsewhere."""
    content = copy.deepcopy(content)
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    change(parent, place[-1])
    return content


def remove(parent: Any, key: Any) -> None:
    """A change that leaves something out."""
    del parent[key]


def put(other: Any) -> Callable[[Any, Any], None]:
    """A change that puts something else in its place."""
    return lambda parent, key: parent.__setitem__(key, other)
