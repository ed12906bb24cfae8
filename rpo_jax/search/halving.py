"""A search: stages that each go on from the checkpoints of the one before, and the finalists."""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from rpo_jax.errors import SettingsError, counted
from rpo_jax.execution.signals import stop_requests
from rpo_jax.files import read_json
from rpo_jax.runs.folder import SEARCH, SETTINGS, resumable
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import load_spec
from rpo_jax.search.asking import import_optuna, propose
from rpo_jax.search.folder import (
    FINAL,
    PRESET,
    Searched,
    check_same_search,
    first_folders,
    in_folders,
    read_plan,
    set_up,
)
from rpo_jax.search.pieces import Cut, Piece, begin, begin_from, drop_checkpoints, train_all
from rpo_jax.search.plan import Plan, Rung, choose_settings, draw_different, join_settings, split
from rpo_jax.settings.grid import settings_from, settings_list
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

Candidate = tuple[int, int]  # index of the part, and of the setting in it at the beginning


class Found(NamedTuple):
    """What a search has found.

    Attributes:
        plan: its plan.
        searched: names of what is searched.
        parts: specifications of the settings to begin with, one for each combination of static settings.
        returns: for each stage the mean returns over seeds of the settings that it ranked; NaN where a seed diverged.
        diverged: number of runs of each setting that diverged, of those of the stages.
        final: returns of the finalists on the fresh seeds, [seeds] each, best first by the last stage.
        default: those of the preset's settings.
    """

    plan: Plan
    searched: list[str]
    parts: list[RunSpec]
    returns: list[dict[Candidate, float]]
    diverged: dict[Candidate, int]
    final: dict[Candidate, np.ndarray]
    default: np.ndarray


def search_to_folder(
    plan: Plan,
    parts: Sequence[RunSpec],
    default: RunSpec,
    searched: Searched,
    path: Path,
    session: Session,
    shard: int | None = None,
) -> Found | None:
    """Searches, and writes what is trained to a folder; `plan.shards` jobs that do this at once share the work.

    Args:
        plan: the plan.
        parts: specifications of the settings to begin with, from `draw_specs`.
        default: that of the preset's settings.
        searched: ranges of what is searched by name; None of static settings.
        path: folder of the search.
        session: how it is trained and shown.
        shard: number of this job, from 1 on; it goes on with the same search if the folder holds it. None if there is
            one job, which begins.

    Returns:
        What was found; None if it was interrupted.

    Raises:
        SettingsError: if the folder already holds something else, or files cannot be written.
    """
    ranges = {name: ranged and ranged._asdict() for name, ranged in searched.items()}
    described: JsonObject = {"plan": plan._asdict(), "searched": ranges, "parts": len(parts)}
    if plan.batches > 1:
        described["optuna"] = import_optuna().__version__
    shared = plan.shards > 1
    with contextlib.ExitStack() as owned:
        owned.enter_context(lock_folder(path, wait=shared))
        begun = shard is not None and (path / SEARCH).exists()
        (check_same_search if begun else set_up)(path, described, first_folders(path, plan, parts, default))
        if shared:
            owned.close()  # so that other jobs go on
        with resumable(path):
            return _search(path, session, shard or 1)


def resume_search(path: Path, session: Session) -> Found | None:
    """Continues the search in a folder, or reads what it has found if it is finished.

    Args:
        path: folder of the search.
        session: how it is trained and shown.

    Returns:
        What was found; None if it was interrupted.

    Raises:
        SettingsError: if a file is damaged, or cannot be written.
    """
    shared = read_plan(path)[0].shards > 1
    with contextlib.nullcontext() if shared else lock_folder(path), resumable(path):
        return _search(path, session)


class _Stages:
    """The stages of a search: what each has trained, and which settings the next one trains."""

    def __init__(self, path: Path, session: Session, shard: int):
        self._path, self._session, self._shard = path, session, shard
        self.plan, self._searched, self._num_parts = read_plan(path)
        self.searched = list(self._searched)
        self.parts: list[RunSpec] = []
        self.alive: list[Candidate] = []
        self.returns: list[dict[Candidate, float]] = []
        self.diverged: dict[Candidate, int] = {}
        self._trained: list[Piece] = []  # whose checkpoints the next stage goes on from

    def train(self, index: int) -> None:
        """Trains the settings that are left until the end of the stage `index`, and drops the worse ones."""
        rung, scores, trained = self.plan.rungs[index], {}, []
        stage = f"stage {index + 1} of {len(self.plan.rungs)}"
        self._say(f"{stage}: {counted(rung.num_settings, 'setting')} until {rung.share:.4g} of the training")
        for batch in range(1 if index else self.plan.batches):
            self._say(f"batch {batch + 1} of {self.plan.batches}", self.plan.batches > 1 and not index)
            with self._alone(f"rung-{index + 1}") as folder:
                pieces = (
                    self._go_on(folder, self.plan.rungs[index - 1]) if index else self._begin(folder, batch, scores)
                )
            summaries = self._train(pieces, lambda spec: rung.num_updates(spec.config))
            scores |= self._score(rung, pieces, summaries)
            trained += pieces
        self._trained = trained
        self.returns.append(scores)
        if all(map(math.isnan, scores.values())):
            raise SettingsError("all settings diverged; search other ranges")
        left = self.plan.rungs[index + 1].num_settings if index + 1 < len(self.plan.rungs) else self.plan.finalists
        self.alive = ranked(scores)[:left]
        best, last = scores[self.alive[0]], scores[self.alive[-1]]
        self._say(f"best mean return {best:,.1f}; the {len(self.alive)} from {last:,.1f} on go on")

    def train_finalists(self) -> tuple[dict[Candidate, np.ndarray], np.ndarray]:
        """Trains the finalists and the preset's settings on fresh seeds; returns what each got [seeds]."""
        seeds = self.plan.fresh_seeds
        finalists = counted(len(self.alive), "finalist")
        self._say(f"{finalists} and the preset's settings, on {len(seeds)} fresh seeds")
        with self._alone(FINAL) as folder:
            pieces = self._pieces(folder, seeds)
            for piece in pieces:
                if not (piece.folder / SETTINGS).exists():
                    begin(piece.folder, piece.spec)
            preset = folder / PRESET
            pieces.append(Piece(-1, [0], preset, load_spec(preset)))
        summaries = self._train(pieces, lambda spec: spec.config.num_updates)
        returns = {
            (piece.part, setting): np.array(row, float)
            for piece, summary in zip(pieces, summaries, strict=True)
            for setting, row in zip(piece.settings, summary["final_return"], strict=True)
        }
        return {one: returns[one] for one in self.alive}, returns[-1, 0]

    def _say(self, words: str, wanted: bool = True) -> None:
        if wanted:
            self._session.console.print(words, highlight=False)

    @contextlib.contextmanager
    def _alone(self, stage: str) -> Iterator[Path]:
        """Keeps other jobs from making folders in that of a stage while the block does."""
        folder = self._path / stage
        with lock_folder(folder, wait=True) if self.plan.shards > 1 else contextlib.nullcontext():
            yield folder

    def _begin(self, folder: Path, batch: int, scores: Mapping[Candidate, float]) -> list[Piece]:
        """The pieces of a batch of the first stage: settings that were drawn, or that Optuna proposes."""
        found = []
        for part, total in enumerate(split(self.plan.num_settings, self._num_parts)):
            sizes = split(total, self.plan.batches)
            first, count = sum(sizes[:batch]), sizes[batch]
            pieces = in_folders(folder, part, range(count), self.plan, self._num_parts, batch)
            if batch and not all((path / SETTINGS).exists() for path, _ in pieces):
                means = [score for (of, _), score in scores.items() if of == part]
                proposed = self._propose(part, means, count)
                for path, settings in pieces:
                    begin(path, choose_settings(proposed, settings))
            for path, settings in pieces:
                spec = load_spec(path)
                if part == len(self.parts):
                    self.parts.append(spec)
                else:
                    self.parts[part] = join_settings(self.parts[part], spec)
                found.append(Piece(part, [first + one for one in settings], path, spec))
        return found

    def _propose(self, part: int, means: Sequence[float], count: int) -> RunSpec:
        space = {name: ranged for name, ranged in self._searched.items() if ranged is not None}
        spec = self.parts[part]
        base = jax.tree.map(lambda x: float(x[0]), spec.hyperparams)
        drawn = draw_different(self.plan, part, self._num_parts, base, space)
        began, here = read_json(self._path / SEARCH)["optuna"], import_optuna().__version__
        if began != here:
            logging.getLogger("rpo_jax").warning(
                f"the search began with Optuna {began}, and this is {here}, which may propose other settings"
            )
        seed = np.random.SeedSequence([self.plan.draw, part, len(means)]).generate_state(1)
        rows = propose(space, settings_list(spec.hyperparams), means, drawn, count, int(seed[0]))
        return dataclasses.replace(spec, hyperparams=settings_from(rows, base))

    def _go_on(self, folder: Path, rung: Rung) -> list[Piece]:
        """The pieces of a later stage, which go on from the checkpoints of the end of the `rung` before."""
        pieces = self._pieces(folder)
        for piece in pieces:
            if not piece.folder.exists():
                sources = [
                    (before.folder, [before.settings.index(one) for one in piece.settings if one in before.settings])
                    for before in self._trained
                    if before.part == piece.part
                ]
                begin_from(sources, piece.folder, piece.spec, rung.num_updates(piece.spec.config))
        drop_checkpoints([before.folder for before in self._trained])
        return pieces

    def _pieces(self, stage: Path, seeds: Sequence[int] | None = None) -> list[Piece]:
        """The settings that are left, cut into pieces; with other seeds if they are given."""
        return [
            Piece(part, settings, folder, choose_settings(spec, settings, seeds))
            for part, spec in enumerate(self.parts)
            if (left := sorted(setting for one, setting in self.alive if one == part))
            for folder, settings in in_folders(stage, part, left, self.plan, self._num_parts)
        ]

    def _train(self, pieces: Sequence[Piece], num_updates: Callable[[RunSpec], int]) -> list[JsonObject]:
        shards = self.plan.shards
        first = (self._shard - 1) * len(pieces) // shards if shards > 1 else None
        return train_all(pieces, num_updates, self._session, first)

    def _score(self, rung: Rung, pieces: Sequence[Piece], summaries: Sequence[JsonObject]) -> dict[Candidate, float]:
        """The mean return of each setting; NaN where a seed diverged."""
        scores = {}
        for piece, summary in zip(pieces, summaries, strict=True):
            faults = [fault["setting"] for fault in summary["faults"]]
            for index, (setting, row) in enumerate(zip(piece.settings, summary["final_return"], strict=True)):
                returns = np.array(row, float)
                self.diverged[piece.part, setting] = faults.count(index)
                if np.isnan(returns).sum() > faults.count(index):
                    raise SettingsError(
                        f"in some runs no episode has ended after {rung.share:.4g} of training, so that settings "
                        "cannot be ranked; search again with fewer halvings, or a larger total_timesteps"
                    )
                scores[piece.part, setting] = float(returns.mean())
        return scores


def _search(path: Path, session: Session, shard: int = 1) -> Found | None:
    stages = _Stages(path, session, shard)
    try:
        with stop_requests() as stopped:
            for index in range(len(stages.plan.rungs)):
                stages.train(index)
                if stopped:
                    return None
            final, default = stages.train_finalists()
            if stopped:
                return None
    except Cut:
        return None
    drop_checkpoints(list(path.glob("rung-*/part-*")))
    told = stages.plan, stages.searched, stages.parts, stages.returns, stages.diverged
    return Found(*told, final, default)


def ranked(scores: dict[Candidate, float]) -> list[Candidate]:
    """Returns the settings by their `scores`, best first; those of which a seed diverged are last."""
    return sorted(scores, key=lambda one: (np.isnan(scores[one]), -np.nan_to_num(scores[one]), one))
