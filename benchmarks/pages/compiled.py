"""What training would launch on an accelerator, counted without one."""

from collections.abc import Iterator
from typing import Any

from pages.findings import claim
from pages.markdown import alternatives, paragraph, section, table
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
            f"{run['compile_cpu_seconds']:.0f} s" if "compile_cpu_seconds" in run else "",
        ]
        for run in sorted(runs, key=lambda run: (run["target"], list(GPU_WORKS).index(run["work"])))
    ]
    return section(
        "What would training launch on an accelerator?",
        paragraph(
            "Training is compiled for accelerators that are not here, and the operations that the program would",
            "start are counted; on a GPU each is about one kernel launch, of 2 to 4 microseconds. The loop of epochs",
            "is taken to run for all of them. Such a program was not tuned on a device, and nothing is said of its",
            "speed. Memory is that of arguments, results and what is in between; the last column is the processor",
            "time of tracing and compiling, all threads together, where it was measured.",
            _on_tpus(runs),
            _of_brax(runs),
            claim("No program communicates with other devices.", not any(run["collectives"] for run in runs)),
            *_comparisons(runs),
        ),
        table(
            ["work", "target", "library", "an update", "an environment step", "a minibatch", "memory", "compiled in"],
            rows,
        ),
    )


def _on_tpus(runs: list[Row]) -> str:
    """What the numbers mean on a TPU."""
    if not any("TPU" in run["target"] for run in runs):
        return ""
    return (
        "A TPU launches no kernels: it runs the program as a whole, one operation after another, so that the number "
        "of fused operations and of copies is a measure there too. Not counted are arithmetic of single numbers, which "
        "its scalar core does, and the memory of arrays that fit into the vector memory of its core. Of "
        "many runs, whose layers do not fit there, rpo_jax computes the gradient of a part of a minibatch at a time, "
        "which starts more operations and takes less memory."
    )


def _of_brax(runs: list[Row]) -> str:
    """The version of JAX that Brax's own PPO is compiled by."""
    releases = dict.fromkeys(run["jax"] for run in runs if run["library"] == "Brax PPO")
    return f"Brax's own PPO needs an older JAX, {alternatives(releases)}." if releases else ""


def _comparisons(runs: list[Row]) -> Iterator[str]:
    """A sentence for each target and other library."""
    for target in dict.fromkeys(run["target"] for run in runs):
        for library in ("Rejax", "Brax PPO"):
            pairs = list(_pairs([run for run in runs if run["target"] == target], library))
            if pairs:
                yield (
                    f"For {target} an update of rpo_jax takes {_shares(pairs, 'update')} of the operations of "
                    f"{library}, and training {_shares(pairs, 'mebibytes')} of its memory."
                )


def _pairs(runs: list[Row], library: str) -> Iterator[tuple[Row, Row]]:
    """Ours and another library's, of the same work."""
    theirs = {run["work"]: run for run in runs if run["library"] == library}
    for run in runs:
        if run["library"] == "rpo_jax" and not run["batching"] and run["work"] in theirs:
            yield run, theirs[run["work"]]


def _shares(pairs: list[tuple[Row, Row]], quantity: str) -> str:
    """The least and the greatest share, as in "20% to 50%"."""
    shares = [ours[quantity] / theirs[quantity] for ours, theirs in pairs]
    return " to ".join(dict.fromkeys(f"{share:.0%}" for share in (min(shares), max(shares))))


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
