"""Loggers: curves of a fit while it trains, for TensorBoard, Weights & Biases and tables."""

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from rpo_jax.errors import SettingsError, unknown_name
from rpo_jax.loggers.points import SECONDS, Logger
from rpo_jax.settings.spec import RunSpec

__all__ = ["LOGGERS", "Logger", "check_loggers", "make_logger"]


class Kind(NamedTuple):
    """Where the points of a logger go.

    Attributes:
        module: of rpo_jax.loggers.
        sink: the class in it, made from a run and its folder.
        package: what has to be installed, if that does not come with rpo_jax.
        extra: of rpo_jax, that installs it.
    """

    module: str
    sink: str
    package: str = ""
    extra: str = ""


LOGGERS = {
    "tensorboard": Kind("tensorboard", "TensorBoard"),
    "wandb": Kind("wandb", "WandB", "wandb", "wandb"),
    "csv": Kind("tables", "CSV"),
    "parquet": Kind("tables", "Parquet", "pyarrow", "parquet"),
}


def check_loggers(names: Sequence[str]) -> None:
    """Raises a SettingsError if a name is unknown or given twice, or what it needs is not installed."""
    if len(set(names)) < len(names):
        raise SettingsError(f"--logger {' '.join(names)}: name each logger once")
    for name in names:
        if name not in LOGGERS:
            raise unknown_name("logger", name, LOGGERS)
        kind = LOGGERS[name]
        if kind.package and not find_spec(kind.package):
            raise SettingsError(f"logger {name} needs {kind.package}; pip install 'rpo_jax[{kind.extra}]'")


def make_logger(name: str, spec: RunSpec, folder: Path, seconds: float = SECONDS) -> Logger:
    """A logger to pass to `fit` as `on_progress`; a context manager, or to be closed once the fit is done.

    With ten thousand updates a second no one needs a point for each: a point is the mean of the updates since the one
    before. `fit` returns every update, and `rpo-jax` writes them to metrics.csv.

    Args:
        name: "tensorboard", "wandb", "csv" or "parquet".
        spec: what is trained: its settings, seeds and steps are used. Where the environment is your own, a `RunSpec`
            made by hand does.
        folder: of the run, where it writes; a run that goes on in the same folder is appended.
        seconds: least time between two points; more where writing one takes more than 2% of it, and more than a 500th
            of the time trained so far.

    Raises:
        SettingsError: if the name is unknown, what it needs is not installed, or W&B does not let us in.
    """
    check_loggers([name])
    kind = LOGGERS[name]
    sink = getattr(importlib.import_module(f"rpo_jax.loggers.{kind.module}"), kind.sink)
    return Logger(name, sink(spec, Path(folder)), spec.config.round_timesteps, seconds)
