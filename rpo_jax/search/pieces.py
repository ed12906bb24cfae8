"""Pieces of a stage of a search: settings that one call trains, each piece in a folder that one job at a time owns.

Jobs that share a search take pieces until all are trained. What a job that ended has left is trained by another.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rpo_jax.algorithm.agent import Agent
from rpo_jax.errors import SettingsError, SimulatorError
from rpo_jax.execution.identity import identify
from rpo_jax.execution.signals import stop_is_requested
from rpo_jax.execution.snapshot import snapshot_bytes
from rpo_jax.files import check_no_link, make_folder, sync_names
from rpo_jax.runs.folder import CHECKPOINTS
from rpo_jax.runs.launch import train_in_folder
from rpo_jax.runs.ownership import InUseError, lock_folder
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import checkpoints_of, read_spec, write_settings
from rpo_jax.runs.summary import read_summary
from rpo_jax.settings.grid import num_settings
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

SECONDS = 2.0  # between two looks at what other jobs have done


class Piece(NamedTuple):
    """Settings that one call trains.

    Attributes:
        part: index of their combination of static settings.
        settings: their indices in it.
        folder: their run folder.
        spec: their specification.
    """

    part: int
    settings: Sequence[int]
    folder: Path
    spec: RunSpec


class Cut(Exception):
    """A signal has stopped training before the point until which it was to go on."""


def begin(folder: Path, spec: RunSpec) -> None:
    """Makes the run folder of a `spec`, in which nothing is trained yet."""
    check_no_link(folder)
    make_folder(folder)
    write_settings(folder, spec)


def begin_from(sources: Sequence[tuple[Path, Sequence[int]]], folder: Path, spec: RunSpec, updates: int) -> None:
    """Makes a run folder whose settings go on from checkpoints of others.

    Args:
        sources: run folders, each with the indices of its settings that go on, which may be none.
        folder: the folder to make.
        spec: specification of the settings that go on, in the order of the sources.
        updates: number of updates from which they go on.

    Raises:
        SettingsError: if a source has no checkpoint of them, or none can be written.
    """
    stored = []
    for path, settings in sources:
        if settings:
            source, agent = read_spec(path)
            size = partial(snapshot_bytes, agent, num_settings(source.hyperparams) * len(source.seeds), 0, 0)
            latest = checkpoints_of(path, agent).read(_identify(source, agent), size)
            if latest is None or latest.updates != updates:
                raise SettingsError(f"{path} holds no checkpoint of update {updates}; search again")
            stored.append((latest, settings))
    agent, new = spec.agent(), folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    begin(new, spec)
    checkpoints_of(new, agent).begin_from(stored, _identify(spec, agent))
    new.replace(folder)
    sync_names(folder.parent)


def _identify(spec: RunSpec, agent: Agent) -> dict[str, str]:
    return identify(agent, spec.hyperparams, spec.keys(), None, None)


def drop_checkpoints(folders: Sequence[Path]) -> None:
    """Removes the checkpoints of run `folders`, from which nothing goes on any more."""
    for folder in folders:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)


def train_all(
    pieces: Sequence[Piece], num_updates: Callable[[RunSpec], int], session: Session, first: int | None
) -> list[JsonObject]:
    """Trains all pieces that are not trained yet, until each has as many updates as `num_updates` says.

    Args:
        pieces: the pieces.
        num_updates: returns the number of updates of a specification.
        session: how they are trained and shown.
        first: index of the piece to begin with, where other jobs train pieces too: theirs are waited for. None if
            there is no other job.

    Returns:
        The summary of each piece.

    Raises:
        Cut: if a signal stopped training, or waiting.
        SimulatorError: if an environment failed.
        SettingsError: if there is no other job, and another process trains a piece all the same.
    """
    trained: dict[int, JsonObject] = {}
    waiting = False
    order = [(index + (first or 0)) % len(pieces) for index in range(len(pieces))]
    while left := [index for index in order if index not in trained]:
        for index in left:
            if stop_is_requested():
                raise Cut
            try:
                trained[index] = _train(pieces[index], num_updates(pieces[index].spec), session)
            except InUseError:
                if first is None:
                    raise
        if left := len(pieces) - len(trained):
            if not waiting:
                session.console.print(f"waiting for other jobs, which train {left} of {len(pieces)} pieces")
            waiting = True
            time.sleep(SECONDS)
    return [trained[index] for index in range(len(pieces))]


def _train(piece: Piece, updates: int, session: Session) -> JsonObject:
    """Trains a piece until it has so many updates, unless it has; returns its summary."""
    if found := _summary(piece, updates):
        return found
    check_no_link(piece.folder)
    with lock_folder(piece.folder):
        if found := _summary(piece, updates):  # its owner has just ended
            return found
        try:
            session = session._replace(until=updates)
            summary, _ = train_in_folder(piece.spec, piece.folder, session, new=False)
        except KeyboardInterrupt:  # while it was compiled
            raise Cut from None
    if summary["failure"]:
        raise SimulatorError(f"{summary['failure']}; to go on: rpo-jax resume, with the folder of the search")
    if summary["interrupted"] and not summary["stopped_early"]:
        raise Cut
    return summary


def _summary(piece: Piece, updates: int) -> JsonObject | None:
    """The summary of a piece that has so many updates."""
    try:
        summary = read_summary(piece.folder)
    except SettingsError:
        return None
    return summary if summary["total_timesteps"] == updates * piece.spec.config.round_timesteps else None
