"""Merging of the shards of a sweep, or of a comparison, into the folder of the whole."""

import contextlib
import itertools
import logging
import shlex
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rpo_jax.errors import SettingsError
from rpo_jax.files import DIGEST, check_no_link, digest_of, write_json
from rpo_jax.runs.compare import of_variant, parts_of_comparison, title_of
from rpo_jax.runs.folder import COMPARISON, INITIAL, SETTINGS, check_free, shards_in
from rpo_jax.runs.join import Piece, Pieces, join_results
from rpo_jax.runs.launch import draw, draw_run, read_curves
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.settings import load_spec, read_settings, read_spec, sweep_digest
from rpo_jax.runs.summary import is_finished, read_summary, summary_of
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

# Where a merge is written before it is moved: first half done, then complete, so that a later merge can move the rest.
HALF, COMPLETE = ".merging", ".merged"


class Found(NamedTuple):
    """A shard that was found: a run or, of a comparison, several.

    Attributes:
        folder: its folder.
        parts: folders of its runs, by name of the variant; "" for a single run.
        settings: content of settings.json of each.
    """

    folder: Path
    parts: dict[str, Path]
    settings: dict[str, JsonObject]

    @property
    def place(self) -> tuple[int, int]:
        """Its number, and the number of shards."""
        shard = next(iter(self.settings.values()))["shard"]
        return shard["index"], shard["count"]


def merge(folders: Sequence[Path], out: Path) -> list[tuple[RunSpec, JsonObject]]:
    """Joins shards into one folder, as if all had been trained in one call; nothing is written if one is missing.

    Args:
        folders: folders of shards, or those that hold shards.
        out: folder of the whole.

    Returns:
        The specification and the summary of the run, or of each run of a comparison.

    Raises:
        SettingsError: if shards are missing, unfinished, there twice or of different sweeps, or `out` holds something.
    """
    with lock_folder(out):
        if not (out / COMPLETE).exists():
            check_free(out)
            _write(_in_order(_find(folders)), out)
        _move(out)
        parts = parts_of_comparison(out) or [out]
        return [(load_spec(part), read_summary(part)) for part in parts]


def _find(folders: Sequence[Path]) -> list[Found]:
    """Finds the shards, which are finished."""
    places = [place for folder in folders for place in shards_in(folder) or [folder]]
    found, problems = [], []
    for folder in {place.resolve(): place for place in places}.values():
        try:
            found.append(_read(folder))
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("; ".join(problems))
    return found


def _read(folder: Path) -> Found:
    parts = {part.name: part for part in parts_of_comparison(folder)} or {"": folder}
    settings = {name: read_settings(part) for name, part in parts.items()}
    if any(content["shard"] is None for content in settings.values()):
        raise SettingsError(f"{folder} is no shard of a sweep, which rpo-jax train --shard trains")
    if not all(map(is_finished, parts.values())):
        raise SettingsError(f"{folder} is not finished: rpo-jax resume {shlex.quote(str(folder))}")
    return Found(folder, parts, settings)


def _in_order(found: list[Found]) -> list[Found]:
    """The shards in the order of their numbers; raises a SettingsError unless they are those of one sweep."""
    first, by_index, problems = found[0], {}, []
    count = first.place[1]
    for one in found:
        if other := _differences(first, one):
            problems.append(f"{first.folder} and {one.folder} are shards of different sweeps: other {other}")
        elif (before := by_index.setdefault(one.place[0], one)) is not one:
            problems.append(f"shard {one.place[0]}/{count} is there twice, in {before.folder} and in {one.folder}")
    if missing := [f"{index}/{count}" for index in range(1, count + 1) if index not in by_index]:
        problems.append(f"missing: --shard {', '.join(missing)}")
    if problems:
        raise SettingsError("; ".join(problems))
    return [by_index[index] for index in range(1, count + 1)]


def _differences(one: Found, other: Found) -> str:
    """What differs between the sweeps of two shards; nothing if they are of the same one."""
    if one.place[1] != other.place[1]:
        return f"number of shards, {one.place[1]} and {other.place[1]}"
    if one.settings.keys() != other.settings.keys():
        return "methods"
    pairs = [(content, other.settings[name]) for name, content in one.settings.items()]
    if all(a["shard"]["sweep"] == b["shard"]["sweep"] and a["initial"] == b["initial"] for a, b in pairs):
        return ""
    names = [
        name
        for name in (*pairs[0][0], *pairs[0][0]["config"])
        for a, b in pairs
        if name not in ("config", "hyperparams", "seeds", "shard", "version", DIGEST)
        and (a | a["config"]).get(name) != (b | b["config"]).get(name)
    ]
    return ", ".join(dict.fromkeys(names)) or "hyperparameters or seeds"


def _write(shards: list[Found], out: Path) -> None:
    """Writes the whole to a folder in `out`, which is called complete once it is."""
    names = list(shards[0].parts)
    for name in filter(None, names):
        check_free(out / name)
        if (out / name).exists():
            raise SettingsError(f"{out / name} is in the way; move it away, or choose another --out")
    half = out / HALF
    check_no_link(half)
    shutil.rmtree(half, ignore_errors=True)  # of a process that was killed
    half.mkdir()
    try:
        curves, summaries, spec = {}, [], None
        for name in names:
            (half / name).mkdir(exist_ok=True)
            spec, summary = _join([(one.parts[name], one.settings[name]) for one in shards], half / name)
            summaries.append(summary)
            found = read_curves(half / name, spec)
            draw_run(spec, found, half / name)
            curves |= of_variant(spec, found)
        if spec and names != [""]:
            draw(curves, title_of(spec), half)
            write_json(half / COMPARISON, summaries)
        half.rename(out / COMPLETE)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise


def _join(parts: list[tuple[Path, JsonObject]], folder: Path) -> tuple[RunSpec, JsonObject]:
    """Writes the whole of one run, of which these are the shards in order, with their settings."""
    whole = _whole(parts)
    write_json(folder / SETTINGS, whole)
    if whole["initial"]:
        shutil.copyfile(parts[0][0] / INITIAL, folder / INITIAL)
    spec, agent = read_spec(folder)
    pieces = []
    for part, _ in parts:
        own = load_spec(part)
        pieces.append(Piece(part, own, summary_of(part, own)))
    _tell_versions(pieces)
    return spec, join_results(spec, agent, _in_rows(pieces), folder)


def _whole(parts: Iterable[tuple[Path, JsonObject]]) -> JsonObject:
    """The settings of the whole, joined from those of its shards."""
    contents = [content for _, content in parts]
    columns = [content["seeds"] for content in contents if content["shard"]["first_setting"] == 0]
    rows = contents[:: len(columns) or 1]
    whole = contents[0] | {
        "hyperparams": [setting for content in rows for setting in content["hyperparams"]],
        "seeds": [seed for seeds in columns for seed in seeds],
        "shard": None,
    }
    if sweep_digest(whole) != contents[0]["shard"]["sweep"]:
        raise SettingsError("the shards do not make up the sweep that their settings name")
    return whole | {DIGEST: digest_of(whole)}


def _in_rows(pieces: list[Piece]) -> Pieces:
    rows = itertools.groupby(pieces, key=lambda piece: piece.spec.shard and piece.spec.shard.first_setting)
    return [list(row) for _, row in rows]


def _tell_versions(pieces: list[Piece]) -> None:
    versions = [piece.summary["versions"] for piece in pieces]
    for name in versions[0]:
        if len(found := list(dict.fromkeys(str(one.get(name)) for one in versions))) > 1:
            told = f"shards were trained with {name} {' and '.join(found)}; numbers can differ by more than luck"
            logging.getLogger("rpo_jax").warning(told)


def _move(out: Path) -> None:
    """Moves what is complete to its place; the file that makes it a run comes last."""
    complete = out / COMPLETE
    check_no_link(complete)
    for entry in sorted(complete.iterdir(), key=lambda entry: entry.name in (SETTINGS, COMPARISON)):
        entry.replace(out / entry.name)
    with contextlib.suppress(OSError):
        complete.rmdir()
