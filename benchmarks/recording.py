"""Results: `results/NAME.json` holds what a script found, with what command and on what machine."""

import contextlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rpo_jax.compiling.cores import num_cores
from rpo_jax.files import atomic_write
from rpo_jax.runs.ownership import InUseError, lock_folder

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def records(name: str) -> list[Row]:
    """The rows of `results/NAME.json`, each with its command and machine; none if there is no such file."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    return [{"command": content["command"], "machine": content["machine"], **row} for row in content["runs"]]


def add(name: str, row: Row, *key: str) -> None:
    """Writes a row into `results/NAME.json`, in place of the one with the same values of `key`.

    Other rows stay as the file holds them now, since another process may have written some of them.
    """
    row = origin() | row
    with _alone():
        rows = records(name)
        same = (index for index, old in enumerate(rows) if all(old.get(part) == row[part] for part in key))
        index = next(same, len(rows))
        rows[index : index + 1] = [row]
        _write(name, rows)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """One process at a time is in the block, so that none writes over what another has added."""
    with contextlib.ExitStack() as owned:
        while True:
            try:
                owned.enter_context(lock_folder(RESULTS))
                break
            except InUseError:
                time.sleep(0.05)
        yield


def is_recorded(name: str, key: Row) -> bool:
    """Whether `results/NAME.json` has a row with these values."""
    return any(all(row[part] == value for part, value in key.items()) for row in records(name))


def write(name: str, rows: list[Row]) -> None:
    """Writes `results/NAME.json` anew: these rows, under all the commands and machines that they come from."""
    with _alone():
        _write(name, rows)


def _write(name: str, rows: list[Row]) -> None:
    commands, machines = (list(dict.fromkeys(row[part] for row in rows)) for part in ("command", "machine"))
    content = {"command": " && ".join(commands), "machine": "; ".join(machines), "runs": rows}
    RESULTS.mkdir(exist_ok=True)
    with atomic_write(RESULTS / f"{name}.json") as file:
        file.write_text(json.dumps(content, indent=1) + "\n")


def origin() -> dict[str, str]:
    """What a row says of where it comes from; starts JAX."""
    return {"command": command(), "machine": machine()}


def command(hidden: Iterable[str] = ()) -> str:
    """The command line that runs this script.

    Args:
        hidden: values of arguments NAME=VALUE, such as paths of this machine, that are left out.
    """
    arguments = sys.argv[1:]
    for value in hidden:
        arguments = [argument.replace(f"={value}", "=PATH") for argument in arguments]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])


def device_kind() -> str:
    """The kind of the devices that this process computes on, such as "cpu"; starts JAX."""
    import jax

    return ", ".join(sorted({device.device_kind for device in jax.devices()}))


def machine(release: str | None = None) -> str:
    """Cores, devices and versions; starts JAX.

    Args:
        release: the version of JAX that was measured; the installed one if None.
    """
    versions = f"Python {platform.python_version()}, jax {release or version('jax')}"
    used = "" if num_cores() == os.cpu_count() else f"{num_cores()} of "
    return f"{used}{os.cpu_count()} cores of {platform.machine()}, devices {device_kind()}, {versions}"
