"""Joining of the results of shards into those of the whole sweep, number for number."""

import contextlib
import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.errors import SettingsError
from rpo_jax.files import atomic_write
from rpo_jax.runs.folder import BEST, EVALUATIONS, METRICS_TABLE, POLICIES
from rpo_jax.runs.policies import most_bytes, read_policies, write_policies
from rpo_jax.runs.results import WHERE, write_summary
from rpo_jax.runs.summary import check_file, damaged, interval_bounds
from rpo_jax.settings.grid import num_settings
from rpo_jax.settings.spec import RunSpec, run_label, swept_values
from rpo_jax.typing import JsonObject

SUMMED = ("compile_seconds", "train_seconds", "evaluate_seconds", "checkpoint_seconds", "broken_episodes")
LARGEST = ("bytes_per_run", "runs_at_once", "resumed_from")
BY_RUN = ("final_return", "best_return", "final_evaluation", "final_entropy")  # [setting][seed]


class Trained(NamedTuple):
    """A shard that has been trained.

    Attributes:
        folder: its folder.
        spec: its specification.
        first_setting: index in the sweep of its first setting.
        summary: its summary.
    """

    folder: Path
    spec: RunSpec
    first_setting: int
    summary: JsonObject


Sweep = list[list[Trained]]  # as they lie in the sweep: a row for each block of settings, a column for each of seeds


def join_results(whole: RunSpec, agent: Agent, pieces: Sweep, folder: Path) -> JsonObject:
    """Writes the results of a sweep from those of its shards: tables, policies and, last, the summary.

    Args:
        whole: specification of the sweep.
        agent: its agent.
        pieces: the shards.
        folder: folder of the sweep, which holds its settings.

    Returns:
        The summary.

    Raises:
        SettingsError: if a file of a shard is damaged.
    """
    _join_tables(METRICS_TABLE, whole, pieces, folder)
    _join_policies(POLICIES, agent, pieces, folder)
    if whole.num_evaluations:
        _join_tables(EVALUATIONS, whole, pieces, folder)
        _join_policies(BEST, agent, pieces, folder)
    summary = _join_summaries(whole, pieces)
    write_summary(folder, summary)
    return summary


def _join_policies(name: str, agent: Agent, pieces: Sweep, folder: Path) -> None:
    def read(piece: Trained) -> Any:
        path, shape = piece.folder / name, (num_settings(piece.spec.hyperparams), len(piece.spec.seeds))
        check_file(path, piece.summary, most_bytes(agent, shape))
        return read_policies(path, agent, shape)

    rows = [jax.tree.map(lambda *parts: np.concatenate(parts, 1), *map(read, row)) for row in pieces]
    write_policies(folder / name, jax.tree.map(lambda *parts: np.concatenate(parts, 0), *rows))


def _join_tables(name: str, whole: RunSpec, pieces: Sweep, folder: Path) -> None:
    """Copies the rows of tables as text, in the order of the whole; they are never in memory together."""
    swept, columns = swept_values(whole), _columns_of(name, pieces)
    with atomic_write(folder / name) as path, path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*WHERE, *swept[0], *columns])
        for row in pieces:
            with contextlib.ExitStack() as opened:
                tables = [opened.enter_context(_runs_in(piece, name)) for piece in row]
                first, count = row[0].first_setting, num_settings(row[0].spec.hyperparams)
                for setting, (piece, runs) in itertools.product(range(count), zip(row, tables, strict=True)):
                    values = [f"{x:.7g}" for x in swept[first + setting].values()]
                    for seed in piece.spec.seeds:
                        for where, numbers in runs(setting, seed):
                            writer.writerow([first + setting, *where, *values, *numbers])


def _columns_of(name: str, pieces: Sweep) -> list[str]:
    """The last columns of a table, which are the same in all shards."""
    found = []
    for piece in itertools.chain(*pieces):
        with (piece.folder / name).open(newline="") as file:
            found.append(next(csv.reader(file), [])[len(WHERE) + len(swept_values(piece.spec)[0]) :])
        if found[-1] != found[0]:
            raise SettingsError(f"{piece.folder / name} has other columns than {pieces[0][0].folder / name}")
    return found[0]


@contextlib.contextmanager
def _runs_in(piece: Trained, name: str) -> Iterator[Callable[[int, int], Iterator[tuple[list[str], list[str]]]]]:
    """Opens a table; yields a function that returns the rows of the next run, which has to be the one asked for."""
    path, before = piece.folder / name, len(WHERE) + len(swept_values(piece.spec)[0])
    check_file(path, piece.summary)
    with path.open(newline="") as file:
        reader = csv.reader(file)
        width = len(next(reader))
        runs = itertools.groupby(reader, key=lambda cells: cells[:2])

        def rows(setting: int, seed: int) -> Iterator[tuple[list[str], list[str]]]:
            found, lines = next(runs, ([], iter(())))
            if found != [str(setting), str(seed)]:
                raise damaged(path)
            for cells in lines:
                if len(cells) != width:
                    raise damaged(path)
                yield cells[1 : len(WHERE)], cells[before:]

        yield rows


def _join_summaries(whole: RunSpec, pieces: Sweep) -> JsonObject:
    """Joins summaries: times are summed, the memory of a run is the largest, and each run keeps its numbers."""
    summaries = [piece.summary for row in pieces for piece in row]
    joined = dict(summaries[0])
    joined |= {name: sum(summary[name] for summary in summaries) for name in SUMMED}
    joined |= {name: max(summary[name] for summary in summaries) for name in LARGEST}
    joined |= {name: _by_run(name, pieces) for name in BY_RUN}
    joined |= {"seeds": whole.seeds, "settings": [x for row in pieces for x in row[0].summary["settings"]]}
    joined["return_interval"] = [interval_bounds(np.array(row, float)) for row in joined["final_return"]]
    joined |= {name: round(joined[name], 3) for name in SUMMED[:-1]}
    steps = joined["total_timesteps"] * len(whole.seeds) * num_settings(whole.hyperparams)
    joined["env_steps_per_second"] = round(steps / max(joined["train_seconds"], 1e-9), 1)
    joined["faults"] = _join_faults(whole, pieces)
    joined["devices"] = list(itertools.chain(*dict.fromkeys(tuple(summary["devices"]) for summary in summaries)))
    joined["versions"] = {name: _in_words(summaries, name) for name in joined["versions"]}
    return joined


def _by_run(name: str, pieces: Sweep) -> list[list[Any]] | None:
    if pieces[0][0].summary[name] is None:
        return None
    return [
        [x for piece in row for x in piece.summary[name][setting]]
        for row in pieces
        for setting in range(num_settings(row[0].spec.hyperparams))
    ]


def _join_faults(whole: RunSpec, pieces: Sweep) -> list[JsonObject]:
    faults = []
    for piece in itertools.chain(*pieces):
        for fault in piece.summary["faults"]:
            place = piece.first_setting + fault["setting"], whole.seeds.index(fault["seed"])
            faults.append((place, fault | {"run": run_label(whole, *place), "setting": place[0]}))
    return [fault for _, fault in sorted(faults, key=lambda one: one[0])]


def _in_words(summaries: Sequence[JsonObject], package: str) -> str | None:
    """The version of a package, or its versions."""
    found = list(dict.fromkeys(summary["versions"].get(package) for summary in summaries))
    return found[0] if len(found) == 1 else " and ".join(map(str, found))
