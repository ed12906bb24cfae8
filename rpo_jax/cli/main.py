"""The command `rpo-jax`: train, compare, resume, evaluate, play, export, envs, check."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rpo_jax.cli import commands, machine, policies, train
from rpo_jax.cli.parse import parse
from rpo_jax.errors import SettingsError, SimulatorError

RUN: dict[type, Callable[[Any], int]] = {
    commands.Train: train.train,
    commands.Compare: train.compare,
    commands.Resume: train.resume,
    commands.Evaluate: policies.evaluate,
    commands.Play: policies.play,
    commands.Export: policies.export,
    commands.Envs: machine.envs,
    commands.Check: machine.check,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Its exit code: 0; 1 if an environment or a check failed, 2 for input that cannot be used, 130 for an interrupt.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = parse(arguments)
        with _warnings_told():
            code = RUN[type(command)](command)
        sys.stdout.flush()
        return code
    except SettingsError as error:
        print("rpo-jax: error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except SimulatorError as error:
        print("rpo-jax: error: an environment failed:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rpo-jax: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads the output has seen enough, as in `rpo-jax envs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a disk that is full, or may not be written to
        print(f"rpo-jax: error: {error.strerror or error}: {error.filename or 'the disk'}", file=sys.stderr)
        return 2


@contextlib.contextmanager
def _warnings_told() -> Iterator[None]:
    """Prints what the library warns of, whatever handlers other libraries install."""

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("rpo-jax:", record.getMessage(), file=sys.stderr)

    logger, handler = logging.getLogger("rpo_jax"), Told()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
