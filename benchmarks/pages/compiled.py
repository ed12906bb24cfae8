"""What training would launch on an accelerator, counted without one."""

from collections.abc import Iterator
from typing import Any

from pages.findings import claim
from pages.markdown import paragraph, section, table
from recording import Row
from works import GPU_WORKS


def render(runs: list[Row]) -> str:
    """The section."""
    rows = [
        [
            ", ".join(filter(None, (run["work"], run["batching"]))),
            run["target"],
            run["library"],
            f"{run['update']:,}",
            f"{_of_loop(run, GPU_WORKS[run['work']].num_steps):,}",
            f"{_of_loop(run, GPU_WORKS[run['work']].num_minibatches):,}",
            f"{run['mebibytes']:,.0f} MiB",
            f"{run['compile_seconds']:.0f} s",
        ]
        for run in sorted(runs, key=lambda run: (run["target"], list(GPU_WORKS).index(run["work"])))
    ]
    shares = list(_shares(runs))
    return section(
        "What would training launch on an accelerator?",
        paragraph(
            "Training is compiled for accelerators that are not here, and the operations that the program would",
            "start are counted; on a GPU each is about one kernel launch, of 2 to 4 microseconds. The loop of epochs",
            "is taken to run for all of them. Such a program was not tuned on a device: the times are those of",
            "compiling it here, and nothing is said of its speed.",
            claim(
                f"An update of rpo_jax takes {min(shares):.0%} to {max(shares):.0%} of the operations of Rejax's.",
                max(shares) < 1,
            )
            if shares
            else "",
        ),
        table(
            ["work", "target", "library", "an update", "an environment step", "a minibatch", "memory", "compiled in"],
            rows,
        ),
    )


def _shares(runs: list[Row]) -> Iterator[float]:
    """Operations of an update of ours as a share of Rejax's."""
    for run in runs:
        for other in runs:
            same = all(run[key] == other[key] for key in ("work", "target"))
            if same and (run["library"], other["library"], run["batching"]) == ("rpo_jax", "Rejax", ""):
                yield run["update"] / other["update"]


def _of_loop(run: Row, trips: int) -> int:
    """Operations of one pass of the loop of so many trips that starts most."""
    epochs = GPU_WORKS[run["work"]].num_epochs
    return max((_started(loop, epochs) for loop in _loops(run["loops"]) if loop["trips"] == trips), default=0)


def _loops(loop: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for inner in loop.get("loops", []):
        yield inner
        yield from _loops(inner)


def _started(loop: dict[str, Any], epochs: int) -> int:
    inner = sum((inner["trips"] or epochs) * _started(inner, epochs) for inner in loop.get("loops", []))
    return loop["operations"] + inner
