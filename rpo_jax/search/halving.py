"""A search in its folder: stages that each go on from the checkpoints of the one before, and the finalists.

search.json       the plan, what is searched in which ranges, and the number of combinations of static settings
rung-1/part-1     a run folder for each stage and each combination of static settings; rung-1/part-1-batch-2 and so on
                  are those of the batches that Optuna proposed
final/part-1      a run folder of the finalists, on fresh seeds; final/preset has the preset's settings
search.csv        every setting: its numbers, its mean return in each stage, and that of the fresh seeds
settings.csv      the setting that was found, as `rpo-jax train --settings` takes it
search.png        return against each hyperparameter
"""

import dataclasses
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.errors import SettingsError, SimulatorError
from rpo_jax.execution.identity import identify
from rpo_jax.execution.signals import stop_requests
from rpo_jax.execution.snapshot import snapshot_bytes
from rpo_jax.files import DIGEST, check_no_link, digest_of, make_folder, read_json, sync_names, write_json
from rpo_jax.runs.folder import CHECKPOINTS, SEARCH, SETTINGS, check_free, resumable
from rpo_jax.runs.launch import train_in_folder
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import checkpoints_of, load_spec, read_spec, write_settings
from rpo_jax.runs.summary import read_summary
from rpo_jax.schema import check
from rpo_jax.search.asking import import_optuna, propose
from rpo_jax.search.plan import Plan, choose_settings, draw_different, join_settings, split
from rpo_jax.settings.grid import num_settings, settings_from, settings_list
from rpo_jax.settings.space import Distribution, choice, loguniform, uniform
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

KIND: JsonObject = {"plan": {str: int}, "searched": {str: (dict, None)}, "parts": int}
Searched = Mapping[str, Distribution | None]  # ranges of hyperparameters by name; None of static settings
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
    plan: Plan, parts: Sequence[RunSpec], default: RunSpec, searched: Searched, path: Path, session: Session
) -> Found | None:
    """Searches, and writes what is trained to a folder.

    Args:
        plan: the plan.
        parts: specifications of the settings to begin with, from `draw_specs`.
        default: that of the preset's settings.
        searched: ranges of what is searched by name; None of static settings.
        path: folder of the search.
        session: how it is trained and shown.

    Returns:
        What was found; None if it was interrupted.

    Raises:
        SettingsError: if the folder already holds something, or files cannot be written.
    """
    with lock_folder(path):
        check_free(path)
        if begun := [name for name in ("rung-1", "final") if (path / name).exists()]:
            raise SettingsError(f"{path} already holds {' and '.join(begun)}; remove them, or choose another --out")
        for index, spec in enumerate(parts):
            _begin(path / "rung-1" / f"part-{index + 1}", spec)
        _begin(path / "final" / "preset", default)
        ranges = {name: ranged and ranged._asdict() for name, ranged in searched.items()}
        described: JsonObject = {"plan": plan._asdict(), "searched": ranges, "parts": len(parts)}
        if plan.batches > 1:
            described["optuna"] = import_optuna().__version__
        write_json(path / SEARCH, described | {DIGEST: digest_of(described)})
        with resumable(path):
            return _search(path, session)


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
    with lock_folder(path), resumable(path):
        return _search(path, session)


def read_plan(path: Path) -> tuple[Plan, Searched, int]:
    """Reads the plan of a search, what it searches in which ranges, and the number of its parts.

    Args:
        path: folder of the search.

    Raises:
        SettingsError: if the file is damaged.
    """
    try:
        described = read_json(path / SEARCH)
        if described[DIGEST] != digest_of(described):
            raise ValueError("its digest does not match its content")
        check(described, KIND)
        plan = Plan(**described["plan"])
        plan.check()
        if described["parts"] < 1 or ("optuna" in described) != (plan.batches > 1):
            raise ValueError("its parts or batches cannot be")
        return plan, {name: _as_range(x) for name, x in described["searched"].items()}, described["parts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path / SEARCH} is damaged, or was changed after it was written: {error}") from None


def _as_range(described: JsonObject | None) -> Distribution | None:
    if described is None:
        return None
    if "values" in described:
        return choice(*described["values"])
    return (loguniform if described["log"] else uniform)(described["low"], described["high"])


class _Stages:
    """The stages of a search: what each has trained, and which settings the next one trains."""

    def __init__(self, path: Path, session: Session):
        self._path, self._session = path, session
        self.plan, self._searched, number = read_plan(path)
        self.searched = list(self._searched)
        self.parts = [load_spec(self._folder(0, part)) for part in range(number)]
        self.alive: list[Candidate] = []
        self.returns: list[dict[Candidate, float]] = []
        self.diverged: dict[Candidate, int] = {}
        self._trained: dict[int, list[tuple[Path, Sequence[int]]]] = {}  # by part: folders, and their settings

    def settings(self, part: int) -> list[int]:
        """Returns the settings of a `part` that are still trained."""
        return sorted(setting for one, setting in self.alive if one == part)

    def train(self, index: int) -> None:
        """Trains the settings that are left until the end of the stage `index`, and drops the worse ones."""
        rung, scores = self.plan.rungs[index], {}
        stage = f"stage {index + 1} of {len(self.plan.rungs)}"
        self._say(f"{stage}: {rung.num_settings} settings until {rung.share:.4g} of the training")
        for part in range(len(self.parts)):
            self._say(f"combination {part + 1} of {len(self.parts)}", len(self.parts) > 1)
            scores |= self._go_on(index, part) if index else self._begin(part)
        self.returns.append(scores)
        if all(map(math.isnan, scores.values())):
            raise SettingsError("all settings diverged; search other ranges")
        left = self.plan.rungs[index + 1].num_settings if index + 1 < len(self.plan.rungs) else self.plan.finalists
        self.alive = ranked(scores)[:left]
        best, last = scores[self.alive[0]], scores[self.alive[-1]]
        self._say(f"best mean return {best:,.1f}; the {len(self.alive)} from {last:,.1f} on go on")

    def _say(self, words: str, wanted: bool = True) -> None:
        if wanted:
            self._session.console.print(words, highlight=False)

    def _begin(self, part: int) -> dict[Candidate, float]:
        """Trains the first stage of a part: a batch of settings that were drawn, and those that Optuna proposes."""
        total, scores, trained = split(self.plan.num_settings, len(self.parts))[part], {}, []
        for batch, count in enumerate(split(total, self.plan.batches)):
            folder = self._folder(0, part, batch)
            if not (folder / SETTINGS).exists():
                _begin(folder, self._propose(part, list(scores.values()), count))
            self._say(f"batch {batch + 1} of {self.plan.batches}", self.plan.batches > 1)
            spec, settings = load_spec(folder), range(len(scores), len(scores) + count)
            if batch:
                self.parts[part] = join_settings(self.parts[part], spec)
            scores |= self._train(0, part, folder, spec, settings)
            trained.append((folder, settings))
        self._trained[part] = trained
        return scores

    def _propose(self, part: int, means: Sequence[float], count: int) -> RunSpec:
        space = {name: ranged for name, ranged in self._searched.items() if ranged is not None}
        spec = self.parts[part]
        base = jax.tree.map(lambda x: float(x[0]), spec.hyperparams)
        drawn = draw_different(self.plan, part, len(self.parts), base, space)
        began, here = read_json(self._path / SEARCH)["optuna"], import_optuna().__version__
        if began != here:
            logging.getLogger("rpo_jax").warning(
                f"the search began with Optuna {began}, and this is {here}, which may propose other settings"
            )
        seed = np.random.SeedSequence([self.plan.draw, part, len(means)]).generate_state(1)
        rows = propose(space, settings_list(spec.hyperparams), means, drawn, count, int(seed[0]))
        return dataclasses.replace(spec, hyperparams=settings_from(rows, base))

    def _go_on(self, index: int, part: int) -> dict[Candidate, float]:
        """Trains what is left of a part, from the checkpoints of the stage before."""
        if not (settings := self.settings(part)):
            return {}
        folder, chosen = self._folder(index, part), choose_settings(self.parts[part], settings)
        if not folder.exists():
            before = [
                (path, [ones.index(one) for one in settings if one in ones]) for path, ones in self._trained[part]
            ]
            _go_on(before, folder, chosen)
        scores = self._train(index, part, folder, chosen, settings)
        self._trained[part] = [(folder, settings)]
        return scores

    def _train(
        self, index: int, part: int, folder: Path, spec: RunSpec, settings: Sequence[int]
    ) -> dict[Candidate, float]:
        rung = self.plan.rungs[index]
        summary = _train(folder, spec, self._session, rung.num_updates(spec.config))
        faults = [fault["setting"] for fault in summary["faults"]]
        returns = np.array(summary["final_return"], float)
        for index_of, setting in enumerate(settings):
            self.diverged[part, setting] = faults.count(index_of)
            if np.isnan(returns[index_of]).sum() > faults.count(index_of):
                raise SettingsError(
                    f"in some runs no episode has ended after {rung.share:.4g} of training, so that "
                    "settings cannot be ranked; search again with fewer halvings, or a larger total_timesteps"
                )
        return {(part, setting): float(mean) for setting, mean in zip(settings, returns.mean(axis=1), strict=True)}

    def _folder(self, index: int, part: int, batch: int = 0) -> Path:
        return self._path / f"rung-{index + 1}" / (f"part-{part + 1}" + (f"-batch-{batch + 1}" if batch else ""))


def _search(path: Path, session: Session) -> Found | None:
    stages = _Stages(path, session)
    try:
        with stop_requests() as stopped:
            for index in range(len(stages.plan.rungs)):
                stages.train(index)
                if stopped:
                    return None
            final, default = _train_finalists(path, stages, session)
            if stopped:
                return None
    except _Cut:
        return None
    for checkpoints in path.glob(f"rung-*/part-*/{CHECKPOINTS}"):  # from which nothing goes on any more
        shutil.rmtree(checkpoints, ignore_errors=True)
    told = stages.plan, stages.searched, stages.parts, stages.returns, stages.diverged
    return Found(*told, final, default)


def _train_finalists(path: Path, stages: _Stages, session: Session) -> tuple[dict[Candidate, np.ndarray], np.ndarray]:
    """Trains the finalists and the preset's settings on fresh seeds; returns what each got [seeds]."""
    plan, found = stages.plan, {}
    told = f"{len(stages.alive)} finalists and the preset's settings, on {plan.final_seeds} fresh seeds"
    session.console.print(told, highlight=False)
    for part, spec in enumerate(stages.parts):
        if settings := stages.settings(part):
            folder, chosen = path / "final" / f"part-{part + 1}", choose_settings(spec, settings, plan.fresh_seeds)
            if not (folder / SETTINGS).exists():
                _begin(folder, chosen)
            summary = _train(folder, chosen, session, spec.config.num_updates)
            returns = np.array(summary["final_return"], float)
            found |= {(part, setting): row for setting, row in zip(settings, returns, strict=True)}
    folder = path / "final" / "preset"
    spec = load_spec(folder)
    summary = _train(folder, spec, session, spec.config.num_updates)
    return {one: found[one] for one in stages.alive}, np.array(summary["final_return"][0], float)


class _Cut(Exception):
    """A signal or a failure has stopped a run before the point until which it was to be trained."""


def ranked(scores: dict[Candidate, float]) -> list[Candidate]:
    """Returns the settings by their `scores`, best first; those of which a seed diverged are last."""
    return sorted(scores, key=lambda one: (np.isnan(scores[one]), -np.nan_to_num(scores[one]), one))


def _begin(folder: Path, spec: RunSpec) -> None:
    check_no_link(folder)
    make_folder(folder)
    write_settings(folder, spec)


def _train(folder: Path, spec: RunSpec, session: Session, updates: int) -> JsonObject:
    """Trains a run until it has so many updates, unless it has; returns its summary."""
    summary = _summary(folder)
    if not summary or summary["total_timesteps"] != updates * spec.config.round_timesteps:
        check_no_link(folder)
        with lock_folder(folder):
            try:
                summary, _ = train_in_folder(spec, folder, session._replace(until=updates), new=False)
            except KeyboardInterrupt:  # while it was compiled
                raise _Cut from None
        if summary["failure"]:
            raise SimulatorError(f"{summary['failure']}; to go on: rpo-jax resume, with the folder of the search")
        if summary["interrupted"] and not summary["stopped_early"]:
            raise _Cut
    return summary


def _summary(folder: Path) -> JsonObject | None:
    try:
        return read_summary(folder)
    except SettingsError:
        return None


def _go_on(before: Sequence[tuple[Path, Sequence[int]]], folder: Path, spec: RunSpec) -> None:
    """Makes the folder of a stage, whose settings go on from the last checkpoints of the stage before."""
    stored = []
    for path, settings in before:
        if settings:
            source, agent = read_spec(path)
            size = partial(snapshot_bytes, agent, num_settings(source.hyperparams) * len(source.seeds), 0, 0)
            latest = checkpoints_of(path, agent).latest(_identify(source, agent), size)
            if latest is None:
                raise SettingsError(f"{path} holds no checkpoint any more; search again")
            stored.append((latest, settings))
    agent, new = spec.agent(), folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    _begin(new, spec)
    checkpoints_of(new, agent).begin_from(stored, _identify(spec, agent))
    new.replace(folder)
    sync_names(folder.parent)
    for path, _ in before:
        shutil.rmtree(path / CHECKPOINTS, ignore_errors=True)


def _identify(spec: RunSpec, agent: Agent) -> dict[str, str]:
    return identify(agent, spec.hyperparams, spec.keys(), None, None)
