"""Training compiled for an H100 and for TPUs that are not here: what one update would start there, and its memory.

On a GPU each operation of the compiled program is about one kernel launch, of 2 to 4 microseconds, which bounds small
works. Every program is compiled in a process of its own, with the plug-in of its target, in an environment that is made
when it is first needed.
"""

import dataclasses
import json
import os
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from arguments import chosen
from libraries import LIBRARIES, Failure, given_pythons, installed_python, last_lines
from peers.compiled_program import TARGETS
from recording import add, command, is_recorded
from works import GPU_WORKS

ROOT = Path(__file__).parent.parent
PROGRAM = Path(__file__).parent / "peers" / "compiled_program.py"
REQUIREMENTS = {
    "rpo_jax": ("-c", str(ROOT / "constraints.txt"), str(ROOT)),
    "Rejax": ("rejax==0.1.3", "gymnax==0.0.9", "brax==0.14.2"),
    "Brax PPO": ("brax==0.14.2",),
}
RELEASES = {"Brax PPO": "0.9.2"}  # of JAX, where it is not the installed one; 0.10 lacks what Brax calls


def main(
    works: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    targets: tuple[str, ...] = (),
    libraries: tuple[str, ...] = (),
    batching: Annotated[str, tyro.conf.arg(help="of rpo_jax's environments; their default if none")] = "",
    python: Annotated[tuple[str, ...], tyro.conf.arg(help="TARGET/LIBRARY=PATH of a Python that has both")] = (),
    time_out: float = 1800.0,
    again: Annotated[bool, tyro.conf.arg(help="also what is recorded already")] = False,
) -> None:
    """Writes `results/compiled.json` after every program; goes on where it was cut."""
    console, given = Console(stderr=True), given_pythons(python)
    for name in chosen("work", works, GPU_WORKS):
        for target in chosen("target", targets, TARGETS):
            for library in chosen("library", libraries, REQUIREMENTS):
                if not LIBRARIES[library].can(GPU_WORKS[name]):
                    continue
                key = {"work": name, "target": target, "library": library, "batching": batching}
                if not again and is_recorded("compiled", key):
                    continue
                try:
                    path = given.get(f"{target}/{library}") or make_python(target, library)
                    work = json.dumps(dataclasses.asdict(GPU_WORKS[name]) | {"batching": batching})
                    arguments = [path, str(PROGRAM), library, target, work]
                    found = run_apart(arguments, library == "rpo_jax", time_out)
                except Failure as failure:
                    console.print(f"{key}: {failure}")
                    continue
                add("compiled", {"command": command(given.values()), **key, **found}, *key)
                console.print({name: value for name, value in (key | found).items() if name != "loops"})


def make_python(target: str, library: str) -> str:
    """The Python that has a library and the plug-in of a target, made here if it is not there.

    Raises:
        Failure: if it could not be installed.
    """
    platform, release = TARGETS[target][0], RELEASES.get(library, version("jax"))
    plugin = {
        "cuda": (f"jax-cuda13-plugin=={release}", f"jax-cuda13-pjrt=={release}", "nvidia-cuda-nvcc"),
        "tpu": (f"jax[tpu]=={release}",),
    }[platform]
    name = f"compiled-{platform}-{library.lower().replace(' ', '-')}"
    return installed_python(name, (f"jax=={release}", *plugin, *REQUIREMENTS[library]))


def run_apart(arguments: Sequence[str], of_rpo_jax: bool, time_out: float) -> dict[str, Any]:
    """What a process of its own finds.

    Args:
        arguments: its command line.
        of_rpo_jax: whether it imports rpo_jax from here.
        time_out: in seconds.

    Raises:
        Failure: if it fails, or takes longer.
    """
    surroundings = os.environ | {"PYTHONPATH": str(ROOT) if of_rpo_jax else "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    surroundings.pop("JAX_COMPILATION_CACHE_DIR", None)
    try:
        done = subprocess.run(arguments, env=surroundings, capture_output=True, text=True, timeout=time_out)
    except subprocess.TimeoutExpired:
        raise Failure(f"not compiled within {time_out:.0f} s") from None
    if done.returncode:
        raise Failure(last_lines(done.stderr))
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    tyro.cli(main)
