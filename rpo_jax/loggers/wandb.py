"""Weights & Biases: a W&B run for each setting and seed, grouped by setting.

So its pages show a curve per seed, the mean and range of each group, and a table of settings to filter, sort and plot
by. A single W&B run for a sweep would need hundreds of panels. Opening each run takes a moment.

Without a network, use `WANDB_MODE=offline rpo-jax train --logger wandb`, and later
`wandb sync RUN/wandb/offline-run-*`.
"""

import contextlib
import dataclasses
import math
import os
import secrets
from pathlib import Path

import numpy as np
import wandb
from rich.console import Console
from rich.progress import track

from rpo_jax.errors import SettingsError, one_line
from rpo_jax.files import check_no_link, plain
from rpo_jax.loggers.points import Point
from rpo_jax.loggers.tags import tag_metrics
from rpo_jax.settings.grid import settings_list
from rpo_jax.settings.spec import RunSpec, setting_labels

PROJECT = "rpo_jax"  # unless WANDB_PROJECT is set
LONGEST = 128  # characters of a name
# Otherwise W&B prints, reads the git repository and samples the machine once for each run.
QUIET = {"silent": True, "console": "off", "disable_git": True, "x_disable_stats": True}


class WandB:
    """A `Sink` that logs to W&B runs whose ids are kept in the folder, so that a resumed run continues its curves."""

    def __init__(self, spec: RunSpec, folder: Path):
        """Opens the W&B runs.

        Args:
            spec: what is trained.
            folder: folder of the run.

        Raises:
            SettingsError: if W&B refuses the login or cannot be reached, or the folder cannot be written.
        """
        self._spec = spec
        self._runs: list[wandb.Run] = []
        try:
            sweep = _read_or_create_id(folder / "wandb" / "id")
            first, *others = np.ndindex(self._shape)
            self._runs.append(self._open(sweep, folder, *first))  # which may ask for a key
            console = Console(stderr=True)
            for index in track(others, "opening W&B's runs", console=console, transient=True, disable=not others):
                self._runs.append(self._open(sweep, folder, *index))
        except Exception as error:  # about the network, the account or the settings
            with contextlib.suppress(Exception):
                self.close()
            message = one_line(error, 300).rstrip(".")
            raise SettingsError(
                f"W&B does not start: {message}; WANDB_MODE=offline needs neither network nor key"
            ) from None

    def begin(self, point: Point) -> None:
        """Does nothing, whatever the `point`: W&B ignores steps that it has already."""

    def write(self, point: Point) -> None:
        """Logs a point of every run.

        Args:
            point: the point after the previous one.
        """
        metrics = tag_metrics(point.metrics, self._spec)
        for run, index in zip(self._runs, np.ndindex(self._shape), strict=True):
            values = {tag: float(x[index]) for tag, x in metrics.items()}
            run.log({tag: x for tag, x in values.items() if not math.isnan(x)}, step=point.step)

    def close(self) -> None:
        """Waits until everything is sent, or on disk; closes the other runs too if one of them fails."""
        with contextlib.ExitStack() as stack:
            for run in self._runs:
                stack.callback(run.finish)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(setting_labels(self._spec)), len(self._spec.seeds)

    def _open(self, sweep: str, folder: Path, setting: int, index: int) -> wandb.Run:
        spec, seed = self._spec, self._spec.seeds[index]
        label = f"{spec.variant} {setting_labels(spec)[setting]}".strip()
        names = {name: getattr(spec, name) for name in ("env", "variant", "preset", "head", "time_limit", "backend")}
        names |= {f"env_args.{name}": value for name, value in spec.env_args.items()}
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


def _read_or_create_id(path: Path) -> str:
    """Reads the prefix of the ids of the W&B runs of a folder, which is drawn at random the first time."""
    for written in (path.parent, path):
        check_no_link(written)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secrets.token_hex(4))
    return path.read_text()
