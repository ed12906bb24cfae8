"""What survives? Each fault is injected many times at random moments, and what is resumed is compared with a whole run.

The run that is disturbed is that of `disturbed.py`. The full disk is a tmpfs, which needs root. Survived means: bit for
bit the results of an undisturbed run, or, for damaged files, an error that says so.
"""

import dataclasses
import random
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from rich.console import Console

from arguments import chosen
from disturbed import prepare
from environment_faults import diverging, not_a_number, throwing
from process_faults import cut, damaged, flip, full_disk, signalled
from recording import add


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is injected how often."""

    inject: Callable[[int, Path], Iterator[dict[str, Any]]]
    count: int


FAULTS = {
    "SIGINT": Fault(partial(signalled, signal.SIGINT), 20),
    "SIGTERM": Fault(partial(signalled, signal.SIGTERM), 20),
    "kill -9": Fault(partial(signalled, signal.SIGKILL), 40),
    "full disk": Fault(full_disk, 20),
    "file cut": Fault(partial(damaged, cut), 30),
    "bit flipped": Fault(partial(damaged, flip), 30),
    "NaN or infinity from a simulator": Fault(not_a_number, 15),
    "learning rate of 1e6": Fault(diverging, 15),
    "environment on the host throws": Fault(throwing, 15),
}


def main(names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()) -> None:
    """Injects faults, and writes `results/faults.json`.

    Args:
        names: of faults, such as 'kill -9'; all if none.
    """
    prepare()
    for name in chosen("fault", names, FAULTS):
        outcomes = injected(name)
        lost = [outcome["lost"] for outcome in outcomes]
        row = {
            "fault": name,
            "injected": len(outcomes),
            "survived": sum(outcome["survived"] for outcome in outcomes),
            "refused": sum(outcome.get("outcome") == "a clear error" for outcome in outcomes),
            "most_lost": max(lost),
            "mean_lost": sum(lost) / len(lost),
        }
        add("faults", row, "fault")


def injected(name: str) -> list[dict[str, Any]]:
    """Injects a fault as often as it says; what became of each."""
    random.seed(name)
    outcomes, fault = [], FAULTS[name]
    with tempfile.TemporaryDirectory() as scratch:
        for outcome in fault.inject(fault.count, Path(scratch)):
            outcomes.append(outcome)
            jax.clear_caches()  # a process can map so many programs only
            Console(stderr=True).print(f"{name}, {len(outcomes)} of {fault.count}: {outcome}")
    return outcomes


if __name__ == "__main__":
    tyro.cli(main)
