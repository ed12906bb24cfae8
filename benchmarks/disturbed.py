"""The run that `faults.py` disturbs: a sweep of two settings and two seeds on Pendulum with four evaluations."""

import signal
import tempfile
from pathlib import Path
from typing import Any

import jax
import tyro
from rich.console import Console

from rpo_jax import use_cpu_cores
from rpo_jax.runs import launch
from rpo_jax.runs.session import Session
from rpo_jax.settings.spec import RunSpec, make_spec

SECONDS = 0.5  # between checkpoints
SILENT = Session(Console(quiet=True), checkpoint_seconds=SECONDS, checkpoint_share=1.0)


def main(path: tyro.conf.Positional[Path]) -> None:
    """Trains into a folder, and prints after every segment how many updates are done.

    Args:
        path: the folder.
    """
    prepare()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a benchmark in the background ignores it
    launch.run_to_folder(
        spec(), path, SILENT._replace(on_progress=lambda progress: print(progress.updates, flush=True))
    )


def prepare() -> None:
    """Sets the cores that this process uses, and where compiled programs are kept."""
    use_cpu_cores()
    jax.config.update("jax_compilation_cache_dir", f"{tempfile.gettempdir()}/rpo_jax_faults")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def spec() -> RunSpec:
    """What is trained."""
    settings: dict[str, Any] = {"num_envs": 64, "num_steps": 16, "total_timesteps": 64 * 16 * 300}
    return make_spec("gymnax/Pendulum-v1", num_seeds=2, rpo_alpha=[0.1, 0.5], num_evaluations=4, **settings)


if __name__ == "__main__":
    tyro.cli(main)
