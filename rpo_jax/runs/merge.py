"""Merging of the shards of a sweep, or of a comparison, into the folder of the whole."""

import contextlib
import dataclasses
import itertools
import logging
import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax

from rpo_jax.errors import SettingsError
from rpo_jax.files import DIGEST, check_no_link, digest_of, write_json
from rpo_jax.runs.compare import of_variant, parts_of_comparison
from rpo_jax.runs.folder import COMPARISON, INITIAL, SETTINGS, check_free, shards_in
from rpo_jax.runs.join import Trained, join_results
from rpo_jax.runs.launch import draw, draw_run, read_curves, title_of
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.settings import load_spec, read_settings, read_spec, sweep_digest
from rpo_jax.runs.summary import is_finished, read_summary, summary_of
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

# Where a merge is written before it is moved: first half done, then complete, so that a later merge can move the rest.
HALF, COMPLETE = ".merging", ".merged"

T = TypeVar("T")


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

    Shards that were joined there before are left as they are.

    Args:
        folders: folders of shards, or those that hold shards; one or more.
        out: folder of the whole.

    Returns:
        The specification and the summary of the run, or of each run of a comparison.

    Raises:
        SettingsError: if shards are missing, unfinished, there twice or of different sweeps, or `out` holds something.
    """
    with lock_folder(out):
        found = _find(folders)
        if (out / COMPLETE).exists():
            _check_left(found, out)
            _move(out)
        elif not _is_whole(found, out):
            check_free(out)
            _write(found, out)
            _move(out)
        parts = parts_of_comparison(out) or [out]
        return [(load_spec(part), read_summary(part)) for part in parts]


def _is_whole(found: list[Found], out: Path) -> bool:
    """Whether a folder holds the finished sweep of which these are the shards."""
    return all(
        (out / name / SETTINGS).exists() and _is_swept(out / name, settings) and is_finished(out / name)
        for name, settings in found[0].settings.items()
    )


def _is_swept(folder: Path, settings: JsonObject) -> bool:
    """Whether the run in a folder is the sweep of a shard with these settings."""
    return sweep_digest(read_settings(folder)) == settings["shard"]["sweep"]


def _check_left(found: list[Found], out: Path) -> None:
    """Raises a SettingsError if a merge that was cut was of another sweep than what was found, or a run came since."""
    if any((out / name).exists() and (out / COMPLETE / name).exists() for name in (SETTINGS, COMPARISON)):
        raise SettingsError(f"{out} holds a run already, and {out / COMPLETE} a merge that was cut; remove one of them")
    for name, settings in found[0].settings.items():
        left = out / COMPLETE / name
        if (left / SETTINGS).exists() and not _is_swept(left, settings):
            raise SettingsError(f"{out / COMPLETE} is left of a merge of another sweep; remove it, and merge again")


def _find(folders: Sequence[Path]) -> list[Found]:
    """Finds all shards of a sweep, in the order of their numbers; raises a SettingsError with all that is wrong."""
    found, problems = [], []
    places = [place for folder in folders for place in shards_in(folder) or [folder]]
    for folder in {os.path.realpath(place): place for place in places}.values():
        try:
            found.append(_read(folder))
        except SettingsError as error:
            problems.append(str(error))
    problems += _problems(found) if found else []
    if problems:
        raise SettingsError("; ".join(problems))
    return sorted(found, key=lambda one: one.place)


def _read(folder: Path) -> Found:
    parts = {part.name: part for part in parts_of_comparison(folder)} or {"": folder}
    settings = {name: read_settings(part) for name, part in parts.items()}
    shards = [content["shard"] for content in settings.values()]
    if None in shards:
        raise SettingsError(f"{folder} is no shard of a sweep, which rpo-jax train --shard trains")
    if len({(shard["index"], shard["count"]) for shard in shards}) > 1:
        raise SettingsError(f"{folder} holds different shards")
    return Found(folder, parts, settings)


def _problems(found: list[Found]) -> list[str]:
    """Tells which shards are of another sweep than the first, there twice, unfinished or missing."""
    first, seen, problems = found[0], {}, []
    count = first.place[1]
    for one in found:
        if different := _differences(first, one):
            problems.append(f"{one.folder} is of another sweep than {first.folder}: other {different}")
        elif (before := seen.setdefault(one.place[0], one)) is not one:
            problems.append(f"shard {one.place[0]}/{count} is there twice: {before.folder} and {one.folder}")
        if not all(map(is_finished, one.parts.values())):
            problems.append(f"{one.folder} is not finished: rpo-jax resume {shlex.quote(str(one.folder))}")
    missing = [f"--shard {index}/{count}" for index in range(1, count + 1) if index not in seen]
    return [*problems, f"missing, to be trained with {', '.join(missing)}"] if missing else problems


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
            spec, summary = _join([one.parts[name] for one in shards], half / name)
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


def _join(parts: list[Path], folder: Path) -> tuple[RunSpec, JsonObject]:
    """Writes the whole of one run, of which these are the shards in order, with their settings."""
    contents = [read_settings(part) for part in parts]
    whole = _whole(contents)
    write_json(folder / SETTINGS, whole)
    if "initial" in whole:
        shutil.copyfile(parts[0] / INITIAL, folder / INITIAL)
    spec, agent = read_spec(folder)
    pieces = [_piece(part, spec, content) for part, content in zip(parts, contents, strict=True)]
    _tell_versions(pieces)
    return spec, join_results(spec, agent, _in_rows(pieces, lambda piece: piece.first_setting), folder)


def _piece(part: Path, whole: RunSpec, content: JsonObject) -> Trained:
    """A shard, whose specification is cut from that of the whole: to read it would create an environment for each."""
    first = content["shard"]["first_setting"]
    rows = slice(first, first + len(content["hyperparams"]))
    hyperparams = jax.tree.map(lambda x: x[rows], whole.hyperparams)
    own = dataclasses.replace(whole, hyperparams=hyperparams, seeds=content["seeds"])
    return Trained(part, own, first, summary_of(part, own))


def _whole(contents: list[JsonObject]) -> JsonObject:
    """The settings of the whole, joined from those of its shards."""
    rows = _in_rows(contents, lambda content: content["shard"]["first_setting"])
    seeds = [content["seeds"] for content in rows[0]]
    fit = all(
        [content["seeds"] for content in row] == seeds
        and all(content["hyperparams"] == row[0]["hyperparams"] for content in row)
        for row in rows
    )
    whole = contents[0] | {
        "hyperparams": [setting for row in rows for setting in row[0]["hyperparams"]],
        "seeds": [seed for some in seeds for seed in some],
        "shard": None,
    }
    if not fit or sweep_digest(whole) != contents[0]["shard"]["sweep"]:
        raise SettingsError("the shards do not make up the sweep that their settings name")
    if whole["initial"] is None:
        del whole["initial"]  # which is not written then
    return whole | {DIGEST: digest_of(whole)}


def _in_rows(shards: Iterable[T], first_setting: Callable[[T], int]) -> list[list[T]]:
    """Shards in order as they lie in the sweep: a row for each block of settings, a column for each of seeds."""
    return [list(row) for _, row in itertools.groupby(shards, key=first_setting)]


def _tell_versions(pieces: list[Trained]) -> None:
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
