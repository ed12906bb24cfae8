"""`--shard`: which part of a sweep a job trains, by its text or by what the cluster's scheduler tells."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rpo_jax.cli.commands import Compare, Train
from rpo_jax.errors import SettingsError

if TYPE_CHECKING:
    from rpo_jax.settings.spec import RunSpec

SLURM, KUBERNETES = "SLURM_ARRAY_TASK_", "JOB_COMPLETION_INDEX"


def cut_out(options: Train | Compare, specs: "list[RunSpec]") -> "tuple[list[RunSpec], Path]":
    """Returns the part of each run that this job trains, and its folder, which is free; tells which part it is.

    Args:
        options: options of the command, with --shard.
        specs: specifications of the whole runs.

    Raises:
        SettingsError: if --shard is not understood or out of range, the folder is taken, or an option is missing or
            one that a shard cannot take.
    """
    from rpo_jax.runs.shards import check_shard_free, shard_folder, shard_spec, tell_shard

    assert options.shard is not None
    index, count = parse_shard(options.shard)
    if options.out is None:
        raise SettingsError("--shard needs --out, the same folder for all shards of a sweep")
    if options.stop_at_return is not None:
        raise SettingsError("--stop-at-return cannot be used with --shard: it asks for the mean over the whole sweep")
    parts = [shard_spec(spec, index, count) for spec in specs]
    check_shard_free(options.out, parts)
    print(tell_shard(specs, parts), file=sys.stderr)
    return parts, shard_folder(options.out, index, count)


def parse_shard(text: str) -> tuple[int, int]:
    """Parses a shard, such as "3/16", "auto" or "auto/16".

    Args:
        text: the text; "auto" stands for what the scheduler tells in variables of the environment: Slurm's array, or
            the index of a Kubernetes job, whose count has to be given.

    Returns:
        The number of the shard, from 1 on, and the number of shards.

    Raises:
        SettingsError: if the text is not understood, a variable is missing or disagrees with it, or the number is out
            of range.
    """
    found = re.fullmatch(r"(auto|\d{1,9})(?:/(\d{1,9}))?", text, re.ASCII)
    if found is None or (found[1] != "auto" and found[2] is None):
        raise SettingsError(f"--shard {text} is not understood; give K/N, such as 3/16, or auto or auto/N")
    given = None if found[2] is None else int(found[2])
    index, count = _by_scheduler(text, given) if found[1] == "auto" else (int(found[1]), given)
    if count is None:
        raise SettingsError(f"--shard {text}: {KUBERNETES} tells no number of jobs; give --shard auto/N")
    if not 1 <= index <= count:
        raise SettingsError(f"--shard {text} is out of range: it is shard {index} of {count}, and they begin at 1")
    return index, count


def _by_scheduler(text: str, count: int | None) -> tuple[int, int | None]:
    """The number of this job from 1 on, and the number of jobs if it is known."""
    if f"{SLURM}ID" not in os.environ:
        if KUBERNETES not in os.environ:
            raise SettingsError(f"--shard {text} needs {SLURM}ID or {KUBERNETES}, which a scheduler sets; give K/N")
        return _number(text, KUBERNETES) + 1, count
    number, first = _number(text, f"{SLURM}ID"), _number(text, f"{SLURM}MIN")
    step = _number(text, f"{SLURM}STEP") if f"{SLURM}STEP" in os.environ else 1
    tasks = _number(text, f"{SLURM}COUNT") if count is None or f"{SLURM}COUNT" in os.environ else count
    if count not in (None, tasks):
        raise SettingsError(
            f"--shard {text} disagrees with {SLURM}COUNT={tasks}; a job that is run again alone needs K/{count}"
        )
    if step < 1 or (number - first) % step:
        raise SettingsError(f"--shard {text}: {SLURM}ID={number} is not {SLURM}MIN={first} and steps of {step}")
    return (number - first) // step + 1, tasks


def _number(text: str, name: str) -> int:
    value = os.environ.get(name, "")
    if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
        raise SettingsError(f"--shard {text} needs a whole number in {name}, which is {value!r}")
    return int(value)
