"""settings.json: what a run trains."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.errors import SettingsError
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.files import DIGEST, digest_of, plain, write_json
from rpo_jax.runs.folder import SETTINGS
from rpo_jax.runs.versions import PACKAGES, STACK, version_of
from rpo_jax.settings.grid import check_seeds, settings_list
from rpo_jax.settings.spec import RunSpec

FORMAT = 3


def write_settings(folder: Path, spec: RunSpec) -> None:
    """Writes settings.json."""
    described = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    del described["num_threads"]  # the machine's, not the run's
    described |= {"config": dataclasses.asdict(spec.config), "hyperparams": settings_list(spec.hyperparams)}
    described |= {"format": FORMAT, "version": version_of("rpo_jax")}
    write_json(folder / SETTINGS, described | {DIGEST: digest_of(described)})


def load_spec(folder: Path) -> RunSpec:
    """Reads the settings of a run back.

    Raises:
        SettingsError: if the folder holds no run, or its settings are damaged or of another version.
    """
    return read_spec(folder)[0]


def read_spec(folder: Path) -> tuple[RunSpec, Agent]:
    """The settings of a run, and its agent; raises as `load_spec`."""
    described = _read_settings(folder)
    try:
        spec = _parse_spec(described)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise SettingsError(f"{folder / SETTINGS} is damaged: {error}") from None
    return spec, spec.agent()


def _read_settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS
    try:
        if not path.is_file():
            parts = sorted(str(part.parent) for part in folder.glob(f"*/{SETTINGS}"))
            hint = f"; did you mean {' or '.join(parts)}?" if parts else ""
            raise SettingsError(f"{folder} holds no run: there is no {SETTINGS} in it{hint}")
        described = json.loads(path.read_text())
        written = described["format"]
    except SettingsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise SettingsError(f"{path} is damaged: it is not what rpo-jax train writes") from None
    if written != FORMAT:
        raise SettingsError(
            f"{folder} was written in format {written}, and this version reads format {FORMAT}; train again"
        )
    if described.get(DIGEST) != digest_of(described):
        raise SettingsError(
            f"{path} is damaged, or was changed after it was written: its digest is not that of its text"
        )
    return described


def _parse_spec(described: dict[str, Any]) -> RunSpec:
    texts = {name: described[name] for name in ("env", "variant", "preset", "head", "time_limit")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise SettingsError(f"{', '.join(texts)} are not all text")
    seeds = described["seeds"]
    if not all(type(seed) is int for seed in seeds) or seeds != list(range(seeds[0], seeds[0] + len(seeds))):
        raise SettingsError(f"its seeds {seeds} are not whole numbers in a row")
    check_seeds(seeds[0], len(seeds))
    config: dict[str, Any] = {
        name: tuple(x) if isinstance(x, list) else x for name, x in dict(described["config"]).items()
    }
    return RunSpec(
        **texts,
        backend=described["backend"],
        config=TrainConfig(**config),
        hyperparams=_stack_settings(described["hyperparams"]),
        seeds=seeds,
        num_evaluations=described["num_evaluations"],
        evaluation_episodes=described["evaluation_episodes"],
    )


def _stack_settings(settings: list[dict[str, Any]]) -> Hyperparams:
    """Settings with leaves [H]; a number that an older version did not know has its default."""
    defaults = plain(dataclasses.asdict(Hyperparams()))
    if not settings or any(set(row) != set(settings[0]) or not set(row) <= set(defaults) for row in settings):
        raise SettingsError("its hyperparams are not rows of the numbers that this version knows")
    rows = [defaults | row for row in settings]
    columns: dict[str, Any] = {
        name: None if rows[0][name] is None else np.asarray([float(row[name]) for row in rows], np.float32)
        for name in defaults
    }
    return Hyperparams(**columns)


def checkpoints_of(folder: Path, agent: Agent) -> Checkpoints:
    """The checkpoints of the run whose settings the folder holds."""
    suite = agent.env.name.partition("/")[0]
    versions = {name: version_of(name) for name in PACKAGES if name in (*STACK, suite)}
    versions["devices"] = " and ".join(
        f"{n} {kind}" for kind, n in Counter(d.device_kind for d in jax.devices()).items()
    )
    return Checkpoints(folder, _read_settings(folder)[DIGEST], versions)
