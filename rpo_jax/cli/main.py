"""The command `rpo-jax`: train, compare, search, resume, merge, evaluate, play, export, envs, check."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from rpo_jax.cli import commands, job, machine, merge, policies, search, train
from rpo_jax.cli.parse import parse
from rpo_jax.cli.streams import lenient_streams
from rpo_jax.errors import LostProcessError, SettingsError, SimulatorError, one_line
from rpo_jax.execution.signals import interrupted_by_all

LONGEST = 4000  # characters of a message

RUN: dict[type, Callable[[Any], int]] = {
    commands.Train: train.train,
    commands.Compare: train.compare,
    commands.Search: search.search,
    commands.Resume: train.resume,
    commands.Merge: merge.merge,
    commands.Evaluate: policies.evaluate,
    commands.Play: policies.play,
    commands.Export: policies.export,
    commands.Envs: machine.envs,
    commands.Check: machine.check,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: words after `rpo-jax`; those of this process if None.

    Returns:
        The exit code: 0 for success, 1 if an environment or a check failed, 2 for invalid input, 130 if interrupted.
    """
    with lenient_streams():
        return _told(partial(_run, sys.argv[1:] if arguments is None else arguments))


def _run(arguments: list[str]) -> int:
    if not job.join(arguments):
        return _run_command(arguments, _alone)
    code = 1  # of a traceback
    try:
        code = _told(partial(_run_command, arguments, job.take_part))
    except SystemExit as stop:  # of --help
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    return job.leave(code)


def _run_command(arguments: list[str], around: Callable[[Any, Callable[[], int]], int]) -> int:
    command = parse(arguments)
    with _warnings_told(), interrupted_by_all():
        return around(command, partial(RUN[type(command)], command))


def _alone(command: Any, run: Callable[[], int]) -> int:
    return run()


def _told(run: Callable[[], int]) -> int:
    """Returns the exit code of a function, whose errors are printed."""
    try:
        return run()
    except SettingsError as error:
        print("rpo-jax: error:", one_line(error, LONGEST), file=sys.stderr)
        return 2
    except SimulatorError as error:
        print("rpo-jax: error: an environment failed:", one_line(error, LONGEST), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rpo-jax: interrupted", file=sys.stderr)
        return 130
    except LostProcessError as error:
        print("rpo-jax: error:", one_line(error, LONGEST), file=sys.stderr, flush=True)
        os._exit(1)  # JAX would wait for the process that has ended
    except OSError as error:  # such as a full or write-protected disk
        message = f"{error.strerror or error}: {error.filename or 'the disk'}"
        print("rpo-jax: error:", one_line(message, LONGEST), file=sys.stderr)
        return 2


@contextlib.contextmanager
def _warnings_told() -> Iterator[None]:
    """Prints the library's warnings, whatever handlers other libraries install."""

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("rpo-jax:", one_line(record.getMessage(), LONGEST), file=sys.stderr)

    logger, handler = logging.getLogger("rpo_jax"), Told()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
