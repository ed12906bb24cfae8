"""The folder of a search.

search.json       the plan, what is searched in which ranges, and the number of combinations of static settings
rung-1/part-1     a run folder for each stage and each combination of static settings; rung-1/part-1-batch-2 and so on
                  are those of the batches that Optuna proposed; where jobs share the search, each is cut into
                  part-1-shard-1, part-1-shard-2 and so on
final/part-1      a run folder of the finalists, on fresh seeds, cut likewise; final/preset has the preset's settings
search.csv        every setting: its numbers, its mean return in each stage, and that of the fresh seeds
settings.csv      the setting that was found, as `rpo-jax train --settings` takes it
search.png        return against each hyperparameter
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rpo_jax.errors import SettingsError
from rpo_jax.files import DIGEST, digest_of, plain, read_json, write_json
from rpo_jax.runs.folder import SEARCH, check_free, has_begun, shards_in
from rpo_jax.runs.settings import describe, read_settings, sweep_digest
from rpo_jax.schema import check
from rpo_jax.search.pieces import begin
from rpo_jax.search.plan import Plan, choose_settings
from rpo_jax.settings.grid import num_settings
from rpo_jax.settings.shards import block
from rpo_jax.settings.space import Distribution, choice, loguniform, uniform
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

KIND: JsonObject = {"plan": {str: int}, "searched": {str: (dict, None)}, "parts": int}
Searched = Mapping[str, Distribution | None]  # ranges of hyperparameters by name; None of static settings
FINAL, PRESET = "final", "preset"


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


def first_folders(path: Path, plan: Plan, parts: Sequence[RunSpec], default: RunSpec) -> dict[Path, RunSpec]:
    """Returns the folders that a search begins with.

    Args:
        path: folder of the search.
        plan: its plan.
        parts: specifications of the settings to begin with, one for each combination of static settings.
        default: that of the preset's settings.

    Returns:
        The specification of each folder.
    """
    found = {path / FINAL / PRESET: default}
    for part, spec in enumerate(parts):
        for folder, settings in in_folders(
            path / "rung-1", part, range(num_settings(spec.hyperparams)), plan, len(parts)
        ):
            found[folder] = choose_settings(spec, settings)
    return found


def in_folders(
    stage: Path, part: int, settings: Sequence[int], plan: Plan, num_parts: int, batch: int = 0
) -> list[tuple[Path, Sequence[int]]]:
    """Cuts settings into pieces for the jobs that share a search.

    Args:
        stage: folder of the stage.
        part: index of the combination of static settings.
        settings: indices of settings of that combination.
        plan: the plan.
        num_parts: number of combinations, which share the jobs too.
        batch: index of the batch.

    Returns:
        The folder and the settings of each piece.
    """
    count = min(-(-plan.shards // num_parts), len(settings))
    name = f"part-{part + 1}" + (f"-batch-{batch + 1}" if batch else "")
    if count == 1:
        return [(stage / name, settings)]
    blocks = [block(len(settings), count, index) for index in range(count)]
    return [(stage / f"{name}-shard-{index + 1}", settings[chosen]) for index, chosen in enumerate(blocks)]


def set_up(path: Path, described: JsonObject, specs: Mapping[Path, RunSpec]) -> None:
    """Writes what a search begins with; search.json comes last.

    Args:
        path: folder of the search.
        described: content of search.json, but for its digest.
        specs: from `first_folders`.

    Raises:
        SettingsError: if the folder holds something.
    """
    check_free(path)
    if shards_in(path):
        raise SettingsError(f"{path} holds shards of a sweep; choose another --out")
    if begun := sorted(folder for folder in (*path.glob("rung-*/*"), *path.glob(f"{FINAL}/*")) if has_begun(folder)):
        raise SettingsError(f"{path} already holds runs, as in {begun[0]}; remove them, or choose another --out")
    for folder, spec in specs.items():
        begin(folder, spec)
    write_json(path / SEARCH, described | {DIGEST: digest_of(described)})


def check_same_search(path: Path, described: JsonObject, specs: Mapping[Path, RunSpec]) -> None:
    """Checks that a folder holds the search that other jobs share.

    Args:
        path: folder of the search.
        described: content of search.json, but for its digest.
        specs: from `first_folders`.

    Raises:
        SettingsError: if it holds another one.
    """
    read_plan(path)
    begun = read_json(path / SEARCH)
    if different := [name for name in ("plan", "searched", "parts") if begun[name] != plain(described[name])]:
        different = [name for name in begun["plan"] if begun["plan"][name] != described["plan"].get(name)] or different
    elif any(sweep_digest(read_settings(folder)) != sweep_digest(describe(spec)) for folder, spec in specs.items()):
        different = ["settings"]
    if different:
        raise SettingsError(
            f"{path} holds another search, of other {', '.join(different)}; all jobs need the same options, or another "
            "--out"
        )
