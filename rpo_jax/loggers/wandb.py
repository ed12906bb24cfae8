"""Weights & Biases: one of its runs for each setting and seed, in a group for each setting.

So its pages have what they are made for: a curve per seed, the mean and range of a group, and a table of settings to
filter, sort and plot by. One W&B run for a whole sweep would have a panel for each of hundreds of names. Each takes
a moment to open.

Without a network: `WANDB_MODE=offline rpo-jax train --logger wandb`, and later `wandb sync RUN/wandb/offline-run-*`.
"""

import contextlib
import dataclasses
import math
import os
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from rich.console import Console
from rich.progress import track

from rpo_jax.errors import SettingsError
from rpo_jax.files import plain
from rpo_jax.loggers.points import Point
from rpo_jax.loggers.tags import tagged
from rpo_jax.settings.grid import settings_list
from rpo_jax.settings.spec import RunSpec, setting_labels

PROJECT = "rpo_jax"  # unless WANDB_PROJECT says another
LONGEST = 128  # characters of a name
QUIET = {"silent": True, "console": "off", "disable_git": True, "x_disable_stats": True}  # once for each run otherwise


class WandB:
    """Logs each run's points under its own id, which the folder keeps: a run that goes on goes on there too."""

    def __init__(self, spec: RunSpec, folder: Path):
        """Opens the runs.

        Raises:
            SettingsError: if W&B does not let us in, or the folder cannot be written.
        """
        self._spec, self._runs = spec, []
        try:
            sweep = _id(folder / "wandb" / "id")
            first, *others = np.ndindex(self._shape)
            self._runs.append(self._open(sweep, folder, *first))  # which may ask for a key
            console = Console(stderr=True)
            for index in track(others, "opening W&B's runs", console=console, transient=True, disable=not others):
                self._runs.append(self._open(sweep, folder, *index))
        except Exception as error:  # of the network, of accounts and of settings
            with contextlib.suppress(Exception):
                self.close()
            told = " ".join(str(error).split())[:300].rstrip(".")
            raise SettingsError(
                f"W&B does not start: {told}; WANDB_MODE=offline needs neither network nor key"
            ) from None

    def begin(self, point: Point) -> None:
        """Nothing is left to do: W&B itself passes over steps that it has already."""

    def write(self, point: Point) -> None:
        """Logs a point of every run."""
        metrics = tagged(point.metrics, self._spec)
        for run, index in zip(self._runs, np.ndindex(self._shape), strict=True):
            values = {tag: float(x[index]) for tag, x in metrics.items()}
            run.log({tag: x for tag, x in values.items() if not math.isnan(x)}, step=point.step)

    def close(self) -> None:
        """Waits until all is sent, or on the disk; of the others too where one fails."""
        with contextlib.ExitStack() as stack:
            for run in self._runs:
                stack.callback(run.finish)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(setting_labels(self._spec)), len(self._spec.seeds)

    def _open(self, sweep: str, folder: Path, setting: int, index: int) -> Any:
        spec, seed = self._spec, self._spec.seeds[index]
        label = f"{spec.variant} {setting_labels(spec)[setting]}".strip()
        names = {name: getattr(spec, name) for name in ("env", "variant", "preset", "head", "time_limit", "backend")}
        config = names | dataclasses.asdict(spec.config) | settings_list(spec.hyperparams)[setting] | {"seed": seed}
        settings = wandb.Settings(**QUIET)
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=folder,
            id=f"{sweep}-{setting}-{seed}",
            resume=None if wandb.setup().settings.mode in ("offline", "dryrun") else "allow",
            name=f"seed {seed} {label}"[:LONGEST],
            group=f"{sweep}-{setting} {label}"[:LONGEST],
            config=plain(config),
            reinit="create_new",
            settings=settings,
        )


def _id(path: Path) -> str:
    """What the ids of a folder's runs begin with; made up the first time."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(4))
    return path.read_text()
