"""Loggers: training curves written during a fit, for TensorBoard, Weights & Biases and tables."""

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
    """How to construct the sink of a logger.

    Attributes:
        module: module of rpo_jax.loggers that defines the sink.
        sink: name of its class, constructed from a `RunSpec` and a folder.
        package: package that has to be installed; empty if rpo_jax depends on it.
        extra: extra of rpo_jax that installs the package.
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
    """Checks that loggers can be used.

    Args:
        names: names of loggers.

    Raises:
        SettingsError: if a name is unknown or given twice, or a package that it needs is not installed.
    """
    if len(set(names)) < len(names):
        raise SettingsError(f"--logger {' '.join(names)}: name each logger once")
    for name in names:
        if name not in LOGGERS:
            raise unknown_name("logger", name, LOGGERS)
        kind = LOGGERS[name]
        if kind.package and not find_spec(kind.package):
            raise SettingsError(f"logger {name} needs {kind.package}; pip install 'rpo_jax[{kind.extra}]'")


def make_logger(name: str, spec: RunSpec, folder: Path, seconds: float = SECONDS) -> Logger:
    """Makes a logger to pass to `fit` as `on_progress`.

    It is a context manager; without a `with` block, call `close` after the fit. As there may be thousands of updates
    per second, a point of a curve is the mean over the updates since the previous point. `fit` returns every update,
    and `rpo-jax` writes them to metrics.csv.

    Args:
        name: "tensorboard", "wandb", "csv" or "parquet".
        spec: the settings, seeds and steps that are trained; for an environment of your own, construct a `RunSpec`.
        folder: folder of the run, in which the logger writes; the curves of a resumed run are continued.
        seconds: least number of seconds between two points. The interval is longer if writing a point takes more than
            2% of it, and at least 1/500 of the time trained so far.

    Returns:
        The logger.

    Raises:
        SettingsError: if the name is unknown, a package that it needs is not installed, or W&B refuses the login.
    """
    check_loggers([name])
    kind = LOGGERS[name]
    sink = getattr(importlib.import_module(f"rpo_jax.loggers.{kind.module}"), kind.sink)
    return Logger(name, sink(spec, Path(folder)), spec.config.round_timesteps, seconds)
