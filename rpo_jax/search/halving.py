"""A search in its folder: stages that each go on from the checkpoints of the one before, and the finalists.

search.json       the plan, what is searched, and the settings of each stage
rung-1/part-1     a run folder for each stage and each combination of static settings
final/part-1      a run folder of the finalists, on fresh seeds; final/preset has the preset's settings
search.csv        every setting: its numbers, its mean return in each stage, and that of the fresh seeds
settings.csv      the setting that was found, as `rpo-jax train --settings` takes it
search.png        return against each hyperparameter
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rpo_jax.errors import SettingsError
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.identity import identify
from rpo_jax.execution.signals import stop_requests
from rpo_jax.execution.snapshot import snapshot_bytes
from rpo_jax.files import DIGEST, check_no_link, digest_of, make_folder, read_json, write_json
from rpo_jax.runs.folder import CHECKPOINTS, SEARCH, check_free, resumable
from rpo_jax.runs.launch import train_in_folder
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import checkpoints_of, load_spec, write_settings
from rpo_jax.runs.summary import read_summary
from rpo_jax.schema import check
from rpo_jax.search.plan import Plan, choose_settings
from rpo_jax.settings.grid import num_settings, seeds
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

KIND: JsonObject = {"plan": {str: int}, "searched": [str], "parts": int}
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
        seconds: training time of the stages.
    """

    plan: Plan
    searched: list[str]
    parts: list[RunSpec]
    returns: list[dict[Candidate, float]]
    diverged: dict[Candidate, int]
    final: dict[Candidate, np.ndarray]
    default: np.ndarray
    seconds: float


def search_to_folder(
    plan: Plan, parts: Sequence[RunSpec], default: RunSpec, searched: Sequence[str], path: Path, session: Session
) -> Found | None:
    """Searches, and writes what is trained to a folder.

    Args:
        plan: the plan.
        parts: specifications of the settings to begin with, from `draw_specs`.
        default: that of the preset's settings.
        searched: names of what is searched.
        path: folder of the search.
        session: how it is trained and shown.

    Returns:
        What was found; None if it was interrupted.

    Raises:
        SettingsError: if the folder already holds something, or files cannot be written.
    """
    with lock_folder(path):
        check_free(path)
        for index, spec in enumerate(parts):
            _begin(path / "rung-1" / f"part-{index + 1}", spec)
        _begin(path / "final" / "preset", default)
        described: JsonObject = {"plan": plan._asdict(), "searched": list(searched), "parts": len(parts)}
        write_json(path / SEARCH, described | {DIGEST: digest_of(described)})
        with resumable(path):
            return _search(path, session)


def resume_search(path: Path, session: Session) -> Found | None:
    """Continues the search in the folder `path`; its arguments and results are those of `search_to_folder`."""
    with lock_folder(path), resumable(path):
        return _search(path, session)


def read_plan(path: Path) -> tuple[Plan, list[str], int]:
    """Reads the plan of a search, the names of what it searches, and the number of its parts.

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
        return Plan(**described["plan"]), described["searched"], described["parts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path / SEARCH} is damaged, or was changed after it was written: {error}") from None


def _search(path: Path, session: Session) -> Found | None:
    plan, searched, number = read_plan(path)
    parts = [load_spec(path / "rung-1" / f"part-{index + 1}") for index in range(number)]
    alive: list[list[int]] = [list(range(num_settings(spec.hyperparams))) for spec in parts]
    returns: list[dict[Candidate, float]] = []
    diverged: dict[Candidate, int] = {}
    seconds: dict[int, float] = {}  # of the last stage of each part, which counts those before
    best: list[Candidate] = []
    with stop_requests() as stopped:
        for index, rung in enumerate(plan.rungs):
            stage = f"stage {index + 1} of {len(plan.rungs)}"
            session.console.print(f"{stage}: {rung.num_settings} settings until {rung.share:.0%}", highlight=False)
            scores: dict[Candidate, float] = {}
            for part, settings in enumerate(alive):
                if not settings:
                    continue
                folder, spec = path / f"rung-{index + 1}" / f"part-{part + 1}", choose_settings(parts[part], settings)
                if index and not folder.exists():
                    before = path / f"rung-{index}" / f"part-{part + 1}"
                    _go_on(before, folder, spec, [_alive_before(returns, part).index(one) for one in settings])
                summary = _train(folder, spec, session, round(rung.share * spec.config.num_updates))
                seconds[part] = summary["train_seconds"]
                if stopped or _is_cut(summary):
                    return None
                for setting, of_seeds in zip(settings, np.array(summary["final_return"], float), strict=True):
                    scores[part, setting] = float(of_seeds.mean())
                    diverged[part, setting] = int(np.isnan(of_seeds).sum())
            returns.append(scores)
            best = ranked(scores)[
                : plan.rungs[index + 1].num_settings if index + 1 < len(plan.rungs) else plan.finalists
            ]
            alive = [sorted(setting for one, setting in best if one == part) for part in range(number)]
        final = _finals(path, plan, parts, best, session)
        if final is None or stopped:
            return None
        summary = _train(path / "final" / "preset", load_spec(path / "final" / "preset"), session, None)
        if stopped or _is_cut(summary):
            return None
    default = np.array(summary["final_return"][0], float)
    return Found(plan, searched, parts, returns, diverged, final, default, sum(seconds.values()))


def _finals(
    path: Path, plan: Plan, parts: Sequence[RunSpec], best: Sequence[Candidate], session: Session
) -> dict[Candidate, np.ndarray] | None:
    """Trains the finalists on fresh seeds; returns what each got, or None if that was interrupted."""
    session.console.print(
        f"{len(best)} finalists and the preset's settings, on {plan.final_seeds} fresh seeds", highlight=False
    )
    fresh = range(plan.first_seed + plan.num_seeds, plan.first_seed + plan.num_seeds + plan.final_seeds)
    found: dict[Candidate, np.ndarray] = {}
    for part, spec in enumerate(parts):
        if not (settings := [setting for one, setting in best if one == part]):
            continue
        folder, chosen = path / "final" / f"part-{part + 1}", choose_settings(spec, settings, fresh)
        if not folder.exists():
            _begin(folder, chosen)
        summary = _train(folder, chosen, session, None)
        if _is_cut(summary):
            return None
        for setting, returns in zip(settings, np.array(summary["final_return"], float), strict=True):
            found[part, setting] = returns
    return {candidate: found[candidate] for candidate in best}


def ranked(scores: dict[Candidate, float]) -> list[Candidate]:
    """Returns the settings by their `scores`, best first; those of which a seed diverged are last."""
    return sorted(scores, key=lambda one: (np.isnan(scores[one]), -np.nan_to_num(scores[one]), one))


def _alive_before(returns: Sequence[dict[Candidate, float]], part: int) -> list[int]:
    return [setting for one, setting in returns[-1] if one == part]


def _is_cut(summary: JsonObject) -> bool:
    """Whether a run was stopped by something else than the point until which it was to be trained."""
    return summary["interrupted"] and not summary["stopped_early"]


def _begin(folder: Path, spec: RunSpec) -> None:
    check_no_link(folder)
    make_folder(folder)
    write_settings(folder, spec)


def _train(folder: Path, spec: RunSpec, session: Session, until: int | None) -> JsonObject:
    """Trains a run until so many updates, unless it was; returns its summary."""
    until = spec.config.num_updates if until is None else max(until, 1)
    if (summary := _summary(folder)) and summary["total_timesteps"] == until * spec.config.round_timesteps:
        return summary
    check_no_link(folder)
    with lock_folder(folder):
        return train_in_folder(spec, folder, session._replace(until=until), new=False)[0]


def _summary(folder: Path) -> JsonObject | None:
    try:
        return read_summary(folder)
    except SettingsError:
        return None


def _go_on(before: Path, folder: Path, spec: RunSpec, settings: Sequence[int]) -> None:
    """Makes the folder of a stage, whose settings go on from the last checkpoint of the stage before."""
    source = load_spec(before)
    agent = source.agent()
    stored = _checkpoints(before).latest(
        identify(agent, source.hyperparams, seeds(source.seeds[0], len(source.seeds)), None, None),
        lambda: snapshot_bytes(agent, num_settings(source.hyperparams) * len(source.seeds), 0, 0),
    )
    if stored is None:
        raise SettingsError(f"{before} holds no checkpoint any more; search again")
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    _begin(new, spec)
    identity = identify(spec.agent(), spec.hyperparams, seeds(spec.seeds[0], len(spec.seeds)), None, None)
    _checkpoints(new).begin_from(stored, settings, identity)
    new.replace(folder)
    shutil.rmtree(before / CHECKPOINTS, ignore_errors=True)


def _checkpoints(folder: Path) -> Checkpoints:
    return checkpoints_of(folder, load_spec(folder).agent())
