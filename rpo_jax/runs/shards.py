"""Shards of a sweep in folders beside each other, each an ordinary run or comparison."""

import contextlib
import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

import jax

from rpo_jax.errors import SettingsError
from rpo_jax.runs.compare import parts_of_comparison
from rpo_jax.runs.folder import COMPARISON, SETTINGS, check_free, shards_in
from rpo_jax.runs.settings import describe, read_settings, sweep_digest
from rpo_jax.runs.summary import is_finished
from rpo_jax.settings.grid import num_settings
from rpo_jax.settings.shards import Shard, block, cut
from rpo_jax.settings.spec import RunSpec, setting_labels


def shard_spec(spec: RunSpec, index: int, count: int) -> RunSpec:
    """Returns one part of a sweep, a rectangle of settings and seeds, which trains with the same random streams.

    Args:
        spec: specification of the sweep.
        index: number of the part, from 1 on.
        count: number of parts.

    Returns:
        The specification of the part, whose `hyperparams` and `keys()` go to `fit`. What `save_run` keeps of it in
        folders such as runs/sweep/shard-3-of-8 is joined by `rpo-jax merge runs/sweep`:

            part = shard_spec(spec, 3, 8)
            save_run("runs/sweep/shard-3-of-8", part, fit(part.agent(), part.hyperparams, part.keys()))

    Raises:
        SettingsError: if the sweep cannot be cut into so many parts, or is such a part itself, or the index is out
            of range.
    """
    if not 1 <= index <= count:
        raise SettingsError(f"shard {index} of {count} is out of range: shards are numbered from 1 on")
    if spec.shard:
        raise SettingsError(f"it is shard {spec.shard} of a sweep already; cut the sweep itself into more shards")
    of_settings, of_seeds = cut(num_settings(spec.hyperparams), len(spec.seeds), count)
    rows = block(num_settings(spec.hyperparams), of_settings, (index - 1) // of_seeds)
    seeds = block(len(spec.seeds), of_seeds, (index - 1) % of_seeds)
    return dataclasses.replace(
        spec,
        hyperparams=jax.tree.map(lambda x: x[rows], spec.hyperparams),
        seeds=spec.seeds[seeds],
        shard=Shard(index, count, rows.start, sweep_digest(describe(spec))),
    )


def tell_shard(wholes: Sequence[RunSpec], parts: Sequence[RunSpec]) -> str:
    """Returns a line that tells which part of a sweep a shard is, "shard 2 of 4: learning_rate=0.001, seeds 2 to 3".

    Args:
        wholes: the sweep, or the sweep of each method that is compared.
        parts: from `shard_spec`, one for each.
    """
    told = {whole.variant: _tell_runs(whole, part) for whole, part in zip(wholes, parts, strict=True)}
    runs = [text if len(set(told.values())) == 1 else f"{name} with {text}" for name, text in told.items()]
    shard = parts[0].shard
    assert shard is not None
    return f"shard {shard.index} of {shard.count}: {'; '.join(dict.fromkeys(runs))}"


def _tell_runs(whole: RunSpec, part: RunSpec) -> str:
    assert part.shard is not None
    first = part.shard.first_setting
    labels = setting_labels(whole)[first : first + num_settings(part.hyperparams)]
    settings = labels[0] if len(labels) == 1 else f"{len(labels)} settings, {labels[0]} to {labels[-1]}"
    low, high = part.seeds[0], part.seeds[-1]
    seeds = f"seed {low}" if low == high else f"seeds {low} to {high}"
    return f"{settings}, {seeds}" if settings else seeds


def shard_folder(out: Path, index: int, count: int) -> Path:
    """Returns the folder of shard `index` of `count` of a sweep in `out`, such as out/shard-03-of-16."""
    return out / f"shard-{index:0{len(str(count))}}-of-{count}"


def check_shard_free(out: Path, specs: Sequence[RunSpec]) -> None:
    """Checks that a shard can be trained into the folder of its sweep.

    Args:
        out: folder of the sweep.
        specs: the shard of each run, from `shard_spec`.

    Raises:
        SettingsError: if it is there already, or the folder holds something else.
    """
    shards = [spec.shard for spec in specs if spec.shard]
    folder = shard_folder(out, shards[0].index, shards[0].count)
    check_free(out)
    if _is_of_others(shards_in(out), shards):
        raise SettingsError(
            f"{out} holds shards of another sweep, or of one that is cut otherwise; choose another --out"
        )
    if (folder / SETTINGS).exists() or (folder / COMPARISON).exists():
        if all(map(is_finished, parts_of_comparison(folder) or [folder])):
            raise SettingsError(f"{folder} is finished: nothing is left to do")
        raise SettingsError(f"{folder} holds a run already; go on with it: rpo-jax resume {shlex.quote(str(folder))}")


def _is_of_others(folders: Sequence[Path], shards: Sequence[Shard]) -> bool:
    """Whether the first of the shards that are there, and can be read, is of another sweep."""
    for part in (part for folder in folders for part in parts_of_comparison(folder) or [folder]):
        with contextlib.suppress(SettingsError):
            content = read_settings(part)["shard"] or {}
            return (content.get("sweep"), content.get("count")) not in [(one.sweep, one.count) for one in shards]
    return False
