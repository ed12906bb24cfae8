"""The option --distributed: a command in several processes, which JAX's distributed runtime joins."""

import itertools
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from rpo_jax.errors import SettingsError, one_line

OPTION, ALONE = "--distributed", "auto"
SECONDS = 60  # after which the others end where a process died, if its connections do not tell at once
COMMANDS = ("train", "compare", "search", "resume")  # that several processes can run
PLACE = re.compile(r"(?P<address>\S+:(?P<port>\d+)),(?P<count>\d+),(?P<number>\d+)")

_in_step = False  # whether all processes have begun, and none has left the order of what they exchange


def complete(arguments: list[str]) -> list[str]:
    """Returns the arguments of a command line, in which --distributed has a value."""
    completed = []
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        completed.append(word)
        if word == OPTION and following != ALONE and "," not in following:  # which the name of an environment lacks
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
    if not values or arguments[0] not in COMMANDS:
        return False
    import jax

    place = PLACE.fullmatch(values[-1])
    if place is None and values[-1] != ALONE:
        raise SettingsError(f"{OPTION} {values[-1]}: give nothing, or HOST:PORT,COUNT,NUMBER")
    given: Any = (place["address"], int(place["count"]), int(place["number"])) if place else ()
    if place and not int(place["number"]) < int(place["count"]):
        raise SettingsError(f"{OPTION} {values[-1]}: NUMBER goes from 0 to COUNT - 1")
    if place and not 0 < int(place["port"]) < 2**16:
        raise SettingsError(f"{OPTION} {values[-1]}: there is no port {place['port']}")
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=SECONDS)
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"the processes of a job were not found: {one_line(error, 300)}; JAX finds them on Slurm, Cloud TPU, Open "
            f"MPI and Kubernetes; elsewhere give {OPTION} HOST:PORT,COUNT,NUMBER"
        ) from None
    return True


def take_part(command: Any, run: Callable[[], int]) -> int:
    """Runs a command in this process of a job.

    Args:
        command: options of a command that trains.
        run: runs it, in the first process; the others train what that one trains.

    Returns:
        The exit code, the same in all processes.

    Raises:
        SettingsError: if the command cannot be run by several processes.
    """
    global _in_step
    from rich.console import Console

    from rpo_jax.cli.process import keep_programs, set_up_jax

    if getattr(command, "dry_run", False):
        raise SettingsError("--dry-run trains nothing: leave --distributed out")
    set_up_jax(command.imports)
    from rpo_jax.execution.processes import is_first
    from rpo_jax.execution.signals import stop_requests
    from rpo_jax.runs.following import follow

    with stop_requests():  # while a program is compiled, too: only then do all processes stop in order
        if is_first():
            _in_step = True
            return run()
        logging.getLogger("rpo_jax").setLevel(logging.ERROR)
        keep_programs(command, Console(quiet=True))
        code = follow()
        _in_step = True
        return code


def leave(code: int) -> int:
    """Ends the part of this process in a job, which the others notice if they are still training.

    Args:
        code: exit code of the command here.

    Returns:
        The same, if all processes end together.
    """
    from rpo_jax.execution.processes import is_first

    if _in_step:
        from rpo_jax.runs.following import dismiss

        if not is_first() or dismiss(code):
            return code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # otherwise JAX would wait for the others, and they for this one
