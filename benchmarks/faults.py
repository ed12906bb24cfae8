"""What survives? Each fault is injected many times at random moments, and what is resumed is compared with a whole run.

The run that is disturbed is that of `disturbed.py`. The full disk is a tmpfs, which needs root; for the rest, Linux.
Survived means: bit for bit the results of an undisturbed run, or, for damaged files, an error that says so.
"""

import contextlib
import dataclasses
import itertools
import random
import signal
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import jax
import tyro
from rich.console import Console

from arguments import chosen
from disturbed import prepare
from environment_faults import closing, crashing, diverging, hanging, not_a_number, throwing
from folder_faults import cut, damaged, flip, linked, wrong
from process_faults import Outcome, Outcomes, full_disk, moved, raced, resumed_beside, signalled
from recording import add
from terminal_faults import closed, unread


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is injected how often."""

    inject: Callable[[Path], Outcomes]
    count: int


FAULTS = {
    "SIGINT": Fault(partial(signalled, signal.SIGINT), 20),
    "SIGTERM": Fault(partial(signalled, signal.SIGTERM), 20),
    "kill -9": Fault(partial(signalled, signal.SIGKILL), 40),
    "terminal closed": Fault(closed, 20),
    "reader of the output ends": Fault(unread, 20),
    "full disk": Fault(partial(full_disk, None), 20),
    "disk full for up to two seconds": Fault(partial(full_disk, (0.1, 2.0)), 20),
    "folder moved away or removed": Fault(moved, 20),
    "two processes train into one folder": Fault(raced, 20),
    "resumed while it trains": Fault(resumed_beside, 20),
    "file cut": Fault(partial(damaged, cut), 30),
    "bit flipped": Fault(partial(damaged, flip), 30),
    "link to elsewhere": Fault(linked, 30),
    "wrong content with a right digest": Fault(wrong, 40),
    "NaN or infinity from a simulator": Fault(not_a_number, 15),
    "learning rate of 1e6": Fault(diverging, 15),
    "environment on the host throws": Fault(throwing, 15),
    "simulator hangs": Fault(hanging, 15),
    "simulator crashes the process": Fault(crashing, 15),
    "simulator fails while it is closed": Fault(partial(closing, "fail"), 10),
    "interrupted while a simulator is closed": Fault(partial(closing, "interrupt"), 10),
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


def injected(name: str) -> list[Outcome]:
    """Injects a fault as often as it says; what became of each."""
    random.seed(name)
    outcomes, fault = [], FAULTS[name]
    with tempfile.TemporaryDirectory() as scratch, contextlib.closing(fault.inject(Path(scratch))) as endless:
        for outcome in itertools.islice(endless, fault.count):
            outcomes.append(outcome)
            jax.clear_caches()  # a process can map so many programs only
            Console(stderr=True).print(f"{name}, {len(outcomes)} of {fault.count}: {outcome}")
    return outcomes


if __name__ == "__main__":
    tyro.cli(main)
