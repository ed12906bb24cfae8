"""Settings as a table of numbers, in a CSV file that spreadsheets and pandas read and write."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from rpo_jax.errors import SettingsError, one_line
from rpo_jax.files import atomic_write
from rpo_jax.settings.grid import MAX_SETTINGS

MAX_BYTES = 64 * 2**20


def read_table(path: Path | str) -> list[dict[str, float]]:
    """Reads settings from a CSV file: names of hyperparameters in its first line, a setting in each other one.

    Args:
        path: the file.

    Returns:
        The settings, each with a number by name; `settings_from` and `make_spec` take them.

    Raises:
        SettingsError: if the file cannot be read, or is not such a table.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"{path} has more than {MAX_BYTES // 2**20} MiB; a table of settings is smaller")
        with path.open(newline="", encoding="utf-8-sig") as file:
            names, *lines = [line for line in csv.reader(file) if any(map(str.strip, line))] or [[]]
    except OSError as error:
        raise SettingsError(f"cannot read settings from {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise SettingsError(f"{path} is no CSV file of text") from None
    names = [name.strip() for name in names]
    if not lines or len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        raise SettingsError(
            f"{path} is no table of settings; its first line names hyperparameters, such as learning_rate,rpo_alpha, "
            "each once, and each other line holds their numbers"
        )
    if len(lines) > MAX_SETTINGS:
        raise SettingsError(f"{path} holds {len(lines):,} settings; {MAX_SETTINGS:,} is the limit")
    return [_parse(path, number, names, line) for number, line in enumerate(lines, 2)]


def _parse(path: Path, number: int, names: Sequence[str], line: Sequence[str]) -> dict[str, float]:
    try:
        return {name: float(text) for name, text in zip(names, line, strict=True)}
    except ValueError:
        expected = "one number" if len(names) == 1 else f"{len(names)} numbers"
        raise SettingsError(
            f"line {number} of {path} is {one_line(','.join(line), 60)!r}; it needs {expected}, of {', '.join(names)}"
        ) from None


def write_table(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Writes settings as `read_table` reads them.

    Args:
        path: the file.
        rows: settings, each with a number for the same names.
    """
    with atomic_write(path) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        writer.writerows([f"{value:.9g}" for value in row.values()] for row in rows)
