"""The option --distributed: a command in several processes, which JAX's distributed runtime joins."""

import itertools
import logging
import re
from collections.abc import Callable
from typing import Any

from rpo_jax.errors import SettingsError, one_line

OPTION, ALONE = "--distributed", "auto"
SECONDS = 60  # after which the others end where a process died, if its connections do not tell at once
PLACE = re.compile(r"(?P<address>\S+:\d+),(?P<count>\d+),(?P<number>\d+)")


def complete(arguments: list[str]) -> list[str]:
    """Returns the arguments of a command line, in which --distributed has a value."""
    completed = []
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        completed.append(word)
        if word == OPTION and following != ALONE and not PLACE.fullmatch(following):
            completed.append(ALONE)
    return completed


def join(arguments: list[str]) -> bool:
    """Joins the processes of a job, if the `arguments` ask for it; before JAX starts.

    Returns:
        Whether they do.

    Raises:
        SettingsError: if the job cannot be joined.
    """
    values = [value for word, value in itertools.pairwise(complete(arguments)) if word == OPTION]
    values += [word.removeprefix(f"{OPTION}=") for word in arguments if word.startswith(f"{OPTION}=")]
    if not values:
        return False
    import jax

    place = PLACE.fullmatch(values[-1])
    if place is None and values[-1] != ALONE:
        raise SettingsError(f"{OPTION} {values[-1]}: give nothing, or HOST:PORT,COUNT,NUMBER")
    given: Any = (place["address"], int(place["count"]), int(place["number"])) if place else ()
    if place and not int(place["number"]) < int(place["count"]):
        raise SettingsError(f"{OPTION} {values[-1]}: of {place['count']} processes the last one has one number less")
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=SECONDS)
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"the processes of a job were not found: {one_line(error, 300)}; JAX finds them on Slurm, Cloud TPU, Open "
            f"MPI and Kubernetes; elsewhere give {OPTION} HOST:PORT,COUNT,NUMBER"
        ) from None
    return True


def run(command: Any, first: Callable[[], int]) -> int:
    """Runs a command in this process of a job.

    Args:
        command: options of a command that trains.
        first: runs it in the first process, and returns its exit code; the others train what that one trains.

    Returns:
        The exit code, the same in all processes.
    """
    from rich.console import Console

    from rpo_jax.cli.process import keep_programs, set_up_jax

    set_up_jax(command.imports)
    from rpo_jax.execution.processes import is_first
    from rpo_jax.runs.following import dismiss, follow

    if not is_first():
        logging.getLogger("rpo_jax").setLevel(logging.ERROR)
        keep_programs(command, Console(quiet=True))
        return follow()
    code = 1  # of a traceback
    try:
        code = first()
    finally:
        dismiss(code)
    return code
