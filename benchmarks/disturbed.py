"""The run that `faults.py` disturbs: a sweep of two settings and two seeds with four evaluations."""

import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import jax
import tyro
from rich.console import Console

import breaking
from rpo_jax import use_cpu_cores
from rpo_jax.runs import launch
from rpo_jax.runs.session import Session
from rpo_jax.settings.spec import RunSpec, make_spec

SECONDS = 0.5  # between checkpoints
PENDULUM, BREAKING = "gymnax/Pendulum-v1", breaking.NAME
CACHE = f"{tempfile.gettempdir()}/rpo_jax_faults"
SETTINGS: dict[str, Any] = {
    "num_seeds": 2,
    "rpo_alpha": [0.1, 0.5],
    "num_evaluations": 4,
    "num_envs": 64,
    "num_steps": 16,
    "total_timesteps": 64 * 16 * 300,
}
SILENT = Session(Console(quiet=True), checkpoint_seconds=SECONDS, checkpoint_share=1.0)


def main(path: tyro.conf.Positional[Path], env: tyro.conf.Positional[str] = PENDULUM) -> None:
    """Trains into a folder, and prints after every segment how many updates are done.

    Args:
        path: the folder.
        env: name of the environment.
    """
    prepare()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a benchmark in the background ignores it
    launch.run_to_folder(
        spec(env), path, SILENT._replace(on_progress=lambda progress: print(progress.updates, flush=True))
    )


def prepare() -> None:
    """Sets the cores that this process uses, and where compiled programs are kept."""
    use_cpu_cores()
    jax.config.update("jax_compilation_cache_dir", CACHE)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def spec(env: str = PENDULUM) -> RunSpec:
    """What is trained; on the host, where steps are slow, fewer updates."""
    fewer = {"total_timesteps": SETTINGS["total_timesteps"] // 5} if env == BREAKING else {}
    return make_spec(env, **SETTINGS | fewer)


def command(path: Path) -> list[str]:
    """The words of the same run, after `rpo-jax`."""
    options = ((f"--{name.replace('_', '-')}", x) for name, x in SETTINGS.items())
    words = [word for name, x in options for word in (name, *(map(str, x if isinstance(x, list) else [x])))]
    return ["train", PENDULUM, *words, "--out", str(path)]


def variables() -> dict[str, str]:
    """The variables of a process that runs the command, where `prepare` is not called."""
    return {**os.environ, "XDG_CACHE_HOME": CACHE}


if __name__ == "__main__":
    tyro.cli(main)
