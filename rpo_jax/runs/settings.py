"""settings.json: the specification of a run."""

import dataclasses
import logging
import re
import secrets
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, TrainConfig, field_names
from rpo_jax.algorithm.types import Policy
from rpo_jax.algorithm.variants import get_variant
from rpo_jax.envs import SUITES
from rpo_jax.envs.suites.gymnasium import module_of
from rpo_jax.errors import SettingsError
from rpo_jax.execution.checkpoints import LEAST_SECONDS, SHARE, Checkpoints
from rpo_jax.files import DIGEST, digest_of, make_folder, plain, read_json, sha256_of, write_json
from rpo_jax.runs.folder import INITIAL, SETTINGS, shards_in
from rpo_jax.runs.policies import most_bytes, read_policies, write_policies
from rpo_jax.runs.versions import version_of, versions_of
from rpo_jax.schema import check
from rpo_jax.settings.bounds import check_evaluations
from rpo_jax.settings.grid import check_seeds, check_settings, settings_list
from rpo_jax.settings.shards import Shard
from rpo_jax.settings.spec import RunSpec, names_by_registry
from rpo_jax.typing import JsonObject

FORMAT = 3
# What settings.json holds; the entries of LATER are missing in folders of rpo_jax 0.1.0.
KIND: JsonObject = {
    **dict.fromkeys(("env", "variant", "preset", "head", "time_limit", "network"), str),
    **dict.fromkeys(("backend", "init_from", "initial", "version"), (None, str)),
    "config": {str: (float, bool, str, [float])},
    "hyperparams": [{str: (float, None)}],
    "seeds": [int],
    "num_evaluations": int,
    "evaluation_episodes": int,
    "imports": (None, [str]),
    "env_args": dict,
    "shard": (None, {"index": int, "count": int, "first_setting": int, "sweep": str}),
}
LATER: JsonObject = {"network": "mlp", "init_from": None, "initial": None, "imports": [], "env_args": {}, "shard": None}
NOT_OF_A_SWEEP = ("shard", "imports", "format", "version", "initial")  # what does not say which sweep it is


def write_settings(folder: Path, spec: RunSpec, initial: Policy | None = None) -> None:
    """Writes settings.json, and the initial policy if there is one.

    Args:
        folder: folder of the run.
        spec: specification of the run.
        initial: trained policy from which all runs start; None if there is none.
    """
    content = describe(spec) | {"imports": spec.imports(), "format": FORMAT, "version": version_of("rpo_jax")}
    if initial is not None:
        write_policies(folder / INITIAL, initial)
        content["initial"] = sha256_of(folder / INITIAL)
    write_json(folder / SETTINGS, content | {DIGEST: digest_of(content)})


def describe(spec: RunSpec) -> JsonObject:
    """Returns what settings.json holds of a `spec`; `parse_spec` reads it."""
    content = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    del content["num_threads"]  # a property of the machine, not of the run
    content |= {"env_args": dict(spec.env_args), "shard": spec.shard and dataclasses.asdict(spec.shard)}
    return content | {"config": dataclasses.asdict(spec.config), "hyperparams": settings_list(spec.hyperparams)}


def sweep_digest(content: JsonObject) -> str:
    """Returns a digest of the settings of a sweep, by which its shards know each other.

    Args:
        content: content of settings.json, with the settings and seeds of the whole sweep.
    """
    return digest_of({name: value for name, value in content.items() if name not in NOT_OF_A_SWEEP})


def folder_of(folder: Path, settings: bytes, spec: RunSpec, initial: Policy | None) -> Path:
    """Returns the folder to which the results of a run are to be written, which holds its settings.

    This is its own folder, created anew if it was moved or removed; or one beside it if that holds another run now.

    Args:
        folder: folder of the run.
        settings: content of settings.json when training began.
        spec: specification of the run.
        initial: trained policy from which all runs started; None if there is none.
    """
    found = (folder / SETTINGS).read_bytes() if (folder / SETTINGS).exists() else None
    if found == settings:
        return folder
    place = folder if found is None else folder.with_name(f"{folder.name}-{secrets.token_hex(4)}")
    what = "was moved or removed" if found is None else "was given to another run"
    logging.getLogger("rpo_jax").warning(f"{folder} {what} during training; the results are written to {place}")
    make_folder(place)
    write_settings(place, spec, initial)
    return place


def load_spec(folder: Path) -> RunSpec:
    """Reads the specification of a run from its folder.

    Raises:
        SettingsError: if the folder holds no run, or its settings are damaged or of another version.
    """
    return read_spec(folder)[0]


def read_spec(folder: Path) -> tuple[RunSpec, Agent]:
    """Reads the specification of a run, and creates its agent.

    Args:
        folder: folder of the run.

    Returns:
        The specification and the agent.

    Raises:
        SettingsError: if the folder holds no run, or its settings are damaged or of another version.
    """
    described = read_settings(folder)
    try:
        _check_registered(folder, described)
        spec = parse_spec(described)
        return spec, spec.agent()
    except SettingsError as error:
        raise SettingsError(f"{folder / SETTINGS} cannot be used: {error}") from None


def read_settings(folder: Path) -> JsonObject:
    """Reads settings.json, as it is written or with what an older version did not write.

    Args:
        folder: folder of the run.

    Returns:
        Its content.

    Raises:
        SettingsError: if the folder holds no run, or its settings are damaged or of another version.
    """
    path = folder / SETTINGS
    try:
        if not path.is_file():
            found = [
                *folder.glob(f"[!.]*/{SETTINGS}"),
                *folder.glob(f"final/*/{SETTINGS}"),
            ]  # of a comparison, of a search
            parts = sorted(str(part.parent) for part in found)
            hint = f"; did you mean {' or '.join(parts)}?" if parts else ""
            if shards_in(folder):
                hint = f"; it holds shards, which rpo-jax merge {shlex.quote(str(folder))} joins once all are trained"
            raise SettingsError(f"{folder} holds no run: there is no {SETTINGS} in it{hint}")
        described = read_json(path)
        written = described["format"]
    except SettingsError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(f"{path} is damaged: it is not what rpo-jax train writes") from None
    if type(written) is not int or written > FORMAT:
        raise SettingsError(
            f"{folder} was written by rpo_jax {described.get('version')} in format {written}, and this version reads "
            f"format {FORMAT}; install that version or a later one"
        )
    if written < FORMAT:
        raise SettingsError(
            f"{folder} was written in format {written}, before rpo_jax 0.1.0 was finished, and can no longer be read"
        )
    if described.get(DIGEST) != digest_of(described):
        raise SettingsError(
            f"{path} is damaged, or was changed after it was written: its digest does not match its content"
        )
    try:
        check(LATER | described, KIND)
    except SettingsError as error:
        raise SettingsError(f"{path} is damaged: {error}") from None
    return described | {name: value for name, value in LATER.items() if name not in described}


def parse_spec(described: JsonObject, num_threads: int | None = None) -> RunSpec:
    """Returns the specification that `describe` has described.

    Args:
        described: its description.
        num_threads: threads of the pool on each device of this machine, for EnvPool only.

    Raises:
        SettingsError: if an entry cannot be used.
    """
    names = ("env", "variant", "preset", "head", "time_limit", "network", "backend", "init_from", "env_args")
    seeds, evaluations = described["seeds"], [described[name] for name in ("num_evaluations", "evaluation_episodes")]
    if not seeds or any(seed != seeds[0] + index for index, seed in enumerate(seeds)):
        raise SettingsError("its seeds are not consecutive whole numbers")
    check_seeds(seeds[0], len(seeds))
    check_evaluations(*evaluations)
    config: JsonObject = {name: tuple(x) if isinstance(x, list) else x for name, x in dict(described["config"]).items()}
    if unknown := set(config) - {field.name for field in dataclasses.fields(TrainConfig)}:
        raise SettingsError(
            f"this version does not know {', '.join(sorted(unknown))}; rpo_jax {described.get('version')} wrote it"
        )
    return RunSpec(
        **{name: described[name] for name in names},
        config=TrainConfig(**config),
        hyperparams=_stack_settings(described["hyperparams"], get_variant(described["variant"]).hyperparams_type),
        seeds=seeds,
        num_evaluations=evaluations[0],
        evaluation_episodes=evaluations[1],
        num_threads=num_threads,
        shard=described["shard"] and Shard(**{name: described["shard"][name] for name in field_names(Shard)}),
    )


def _check_registered(folder: Path, described: JsonObject) -> None:
    """Raises a SettingsError with the missing --import if a name needs a module that the user has not imported."""
    env, imports = described["env"], described["imports"] or []
    if (module := module_of(env)) is not None and module not in sys.modules:
        raise SettingsError(
            f"environment {env} of {folder} runs code of the module {module!r}; if you trust it, give "
            f"--import {shlex.quote(module)}"
        )
    named = names_by_registry(env, *(described[name] for name in ("variant", "head", "network")))
    missing = [f"{registry.kind} {name!r}" for registry, name in named if not registry.knows(name)]
    if missing:
        given = " ".join(f"--import {name}" for name in imports if re.fullmatch(r"[\w.]+", name))
        raise SettingsError(
            f"{' and '.join(missing)} of {folder} {'is' if len(missing) == 1 else 'are'} not registered; give "
            f"{given or '--import MODULE, the module that registers it'} (in Python, import that module first)"
        )


def read_initial(folder: Path, agent: Agent) -> Policy | None:
    """Reads the policy from which all runs of a folder start.

    Args:
        folder: folder of the run.
        agent: from `read_spec`.

    Returns:
        The policy; None if there is none.

    Raises:
        SettingsError: if the file is damaged or missing.
    """
    digest = read_settings(folder)["initial"]
    if digest is None:
        return None
    path = folder / INITIAL
    if not path.is_file() or path.stat().st_size > most_bytes(agent, ()) or sha256_of(path) != digest:
        raise SettingsError(f"{path} is damaged or missing: it is the policy from which the run starts; train again")
    return read_policies(path, agent, ())


def _stack_settings(settings: list[JsonObject], kind: type[Hyperparams]) -> Hyperparams:
    """Stacks settings to leaves [H]; hyperparameters that an older version did not have get their defaults."""
    defaults = plain(dataclasses.asdict(kind()))
    check_settings(len(settings))
    if any(set(row) != set(settings[0]) for row in settings):
        raise SettingsError("its hyperparams are not rows of the same numbers")
    if unknown := set(settings[0]) - set(defaults):
        raise SettingsError(
            f"{kind.__name__}, its hyperparameters, has no {', '.join(sorted(unknown))} any more, or yet"
        )
    rows = [defaults | row for row in settings]
    columns: JsonObject = {
        name: None if all(row[name] is None for row in rows) else _column(name, [row[name] for row in rows])
        for name in defaults
    }
    return kind(**columns)


def _column(name: str, values: list[Any]) -> np.ndarray:
    """Converts the values of a hyperparameter, of which infinities are text."""
    if None in values:
        raise SettingsError(f"its hyperparameter {name} is null in some of its settings")
    with np.errstate(over="ignore"):
        return np.asarray(list(map(float, values)), np.float32)


def checkpoints_of(folder: Path, agent: Agent, seconds: float = LEAST_SECONDS, share: float = SHARE) -> Checkpoints:
    """Returns the checkpoints of the run in a folder, with the versions of packages and devices to record in them.

    Args:
        folder: folder of the run.
        agent: agent of the run.
        seconds: least number of seconds between two checkpoints, see `Checkpoints`.
        share: largest share of the time that saving may take.
    """
    versions = versions_of(SUITES.keys() & {agent.env.name.partition("/")[0]})
    versions["devices"] = " and ".join(
        f"{n} {kind}" for kind, n in Counter(d.device_kind for d in jax.devices()).items()
    )
    return Checkpoints(folder, read_settings(folder)[DIGEST], versions, seconds, share)
