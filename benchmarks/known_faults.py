"""Which reported faults of JAX and XLA does this machine meet, in which versions?

Each of `reported_faults.py` runs in a process of its own. Faults of GPUs run here on a CPU, which says nothing about a
GPU: run it there too.
"""

import subprocess
import sys
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from arguments import chosen
from processes import Broken, last_line
from recording import add, device_kind, machine
from reported_faults import FAULTS, Fault

TIME_OUT = 120.0  # seconds
PRELUDE = "import jax; jax.config.update('jax_num_cpu_devices', 2)\nimport jax.numpy as jnp, numpy as np"


def main(names: Annotated[tuple[str, ...], tyro.conf.Positional] = (), *, jax: tuple[str, ...] = ()) -> None:
    """Tries faults, and writes `results/known_faults.json`.

    Args:
        names: of faults, such as 'jax 39103'; all if none.
        jax: versions; the installed one if none.
    """
    names = chosen("fault", names, FAULTS)
    for release in jax or (version("jax"),):
        with tempfile.TemporaryDirectory() as folder:
            python = sys.executable if release == version("jax") else _environment(Path(folder), release)
            for name in names:
                place = {"fault": name, "jax": release, "device": device_kind()}
                outcome = _outcome(python, FAULTS[name])
                Console(stderr=True).print(release, name, outcome)
                add("known_faults", {**place, "machine": machine(release), "outcome": outcome}, *place)


def _environment(folder: Path, release: str) -> str:
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"jax=={release}", f"jaxlib=={release}"], check=True)
    return python


def _outcome(python: str, fault: Fault) -> str:
    try:
        told = last_line(python, f"{PRELUDE}\n{fault.program}", seconds=TIME_OUT)
    except Broken as broken:
        return str(broken)
    return "right" if told.split()[-1] == "True" else "wrong"


if __name__ == "__main__":
    tyro.cli(main)
