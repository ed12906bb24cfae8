"""Training by many devices that are not here: what they would exchange, and the memory of each.

Every device has the work of one: as many runs as devices, or one run with as many times the environments. rpo_jax lays
them out itself. Programs are compiled as `compiled.py` compiles them, in the same environments.
"""

import dataclasses
import json
from typing import Annotated, NamedTuple

import tyro
from rich.console import Console

from arguments import chosen
from compiled import PROGRAM, make_python, run_apart
from libraries import Failure, given_pythons
from recording import add, command, is_recorded
from works import GPU_WORKS


class Pod(NamedTuple):
    """Devices of one kind.

    Attributes:
        target: of `compiled.py`.
        platform: of JAX.
        topology: how they are connected, as XLA names it.
    """

    target: str
    platform: str
    topology: str


SIDES = {4: "2x2", 16: "4x4", 64: "8x8", 256: "16x16"}  # of TPUs, by their number
PODS = {
    "8 H100": Pod("H100", "cuda", "1x1x8"),
    **{
        f"{count} TPU {kind}": Pod(f"TPU {kind}", "tpu", f"{kind}:{sides}")
        for kind in ("v5e", "v6e")
        for count, sides in SIDES.items()
    },
}
LAYOUTS = ("runs", "environments")  # names of the axes over which devices are laid out
WORKS = {name: work for name, work in GPU_WORKS.items() if work.seeds == 1}


def main(
    works: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    pods: tuple[str, ...] = (),
    layouts: tuple[str, ...] = (),
    python: Annotated[tuple[str, ...], tyro.conf.arg(help="TARGET=PATH of a Python that has its plug-in")] = (),
    time_out: float = 3600.0,
    again: Annotated[bool, tyro.conf.arg(help="also what is recorded already")] = False,
) -> None:
    """Writes `results/pods.json` after every program; goes on where it was cut."""
    console, given = Console(stderr=True), given_pythons(python)
    for name in chosen("work", works, WORKS):
        for pod in chosen("pod", pods, PODS):
            for layout in chosen("layout", layouts, LAYOUTS):
                key = {"work": name, "pod": pod, "layout": layout}
                if not again and is_recorded("pods", key):
                    continue
                target, platform, topology = PODS[pod]
                program = [str(PROGRAM.with_name("pod_program.py")), platform, topology, layout]
                try:
                    path = given.get(target) or make_python(target, "rpo_jax")
                    found = run_apart([path, *program, json.dumps(dataclasses.asdict(WORKS[name]))], True, time_out)
                except Failure as failure:
                    console.print(f"{key}: {failure}")
                    continue
                add("pods", {"command": command(given.values()), **key, **found}, *key)
                console.print(key | found)


if __name__ == "__main__":
    tyro.cli(main)
