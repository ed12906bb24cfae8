"""The report that `train`, `compare` and `resume` print at the end, and commands to go on with."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rpo_jax.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from rpo_jax.settings.spec import RunSpec


def report(summaries: list[dict[str, Any]], specs: "list[RunSpec]", path: Path, imports: tuple[str, ...] = ()) -> int:
    """Prints the results of runs, and how to go on.

    Args:
        summaries: summaries of the runs that have begun.
        specs: specification of each run; the last may be of runs that have not begun.
        path: folder of the run or the comparison.
        imports: modules that the command imported.

    Returns:
        The exit code.
    """
    from rich.console import Console

    from rpo_jax.execution.memory import mebibytes
    from rpo_jax.runs.progress import results_table
    from rpo_jax.runs.verdicts import verdicts
    from rpo_jax.settings.spec import setting_labels

    console = Console()
    console.print(results_table(summaries, [setting_labels(spec) for spec in specs[: len(summaries)]]))
    total = sum(summary["train_seconds"] + summary["compile_seconds"] for summary in summaries)
    compiling = sum(summary["compile_seconds"] for summary in summaries)
    speed = " and ".join(f"{summary['env_steps_per_second']:,.0f}" for summary in summaries)
    console.print(
        f"{total:.1f} s, of which {compiling:.1f} s compilation; {speed} steps/s over all runs", highlight=False
    )
    for summary in summaries:
        runs = len(summary["settings"]) * len(summary["seeds"])
        at_once = summary["runs_at_once"]
        cut = f"; {at_once} of {runs} runs in a call" if at_once < runs else ""
        console.print(f"{summary['variant']}: {mebibytes(summary['bytes_per_run'])} of memory per run{cut}")
    for summary in summaries:
        if summary["evaluate_seconds"]:
            console.print(
                f"{summary['variant']}: evaluations took {summary['evaluate_seconds']:.1f} s, in addition to "
                f"{summary['train_seconds']:.1f} s of training"
            )
        if summary["failure"]:
            console.print(
                one_line(f"an environment failed: {summary['failure']}", 1000),
                style="bold red",
                highlight=False,
                markup=False,
            )
        for fault in summary["faults"]:
            console.print(
                one_line(f"{fault['run']} stopped in update {fault['update']}: its {fault['what']}", 1000)
                + " became NaN or infinite; its policy is that of the previous update",
                style="bold red",
                highlight=False,
                markup=False,
            )
        if summary["broken_episodes"]:
            console.print(
                f"{summary['broken_episodes']:,} episodes ended because the simulator returned NaN or infinity"
            )
    early = [summary for summary in summaries if summary.get("stopped_early")]
    unfinished = [summary for summary in summaries if summary["interrupted"]]
    interrupted = len(summaries) < len(specs) or len(unfinished) > len(early)
    for summary in early:
        console.print(
            f"{summary['variant']}: the return to reach was reached after {summary['total_timesteps']:,} steps"
        )
    if interrupted:
        console.print("interrupted: the results are those of the updates completed so far")
    if interrupted or early:
        print_resume(console, path, imports)
    console.print(f"results: {path}", highlight=False, markup=False, soft_wrap=True)
    for sentence in verdicts(summaries):
        console.print(sentence, highlight=False)
    if specs[0].shard and not interrupted:
        print_command(console, "once all shards are trained", ["merge", str(path.parent)], imports)
    if any(summary["failure"] for summary in summaries):
        return 1
    return 130 if interrupted else 0


def print_resume(console: "Console", path: Path, imports: Sequence[str]) -> None:
    """Prints the command that goes on with what a folder holds, by as many processes as there are now.

    Args:
        console: where to print it.
        path: the folder.
        imports: modules that it has to import.
    """
    from rpo_jax.execution.processes import are_several

    words = ["resume", str(path), *(["--distributed"] if are_several() else [])]
    print_command(console, "to continue", words, imports)


def print_command(console: "Console", purpose: str, words: Sequence[str], imports: Sequence[str]) -> None:
    """Prints a command of `rpo-jax` as the shell takes it.

    Args:
        console: where to print it.
        purpose: what it is for, such as "to continue".
        words: its words after `rpo-jax`.
        imports: modules that it has to import.
    """
    command = shlex.join(["rpo-jax", *words, *(word for name in imports for word in ("--import", name))])
    console.print(f"{purpose}: {command}", highlight=False, markup=False, soft_wrap=True)
