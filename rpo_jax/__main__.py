"""The command `rpo-jax`, and `python -m rpo_jax`."""

import contextlib
import os
import sys


def main() -> int:
    """Returns the exit code of the command, after setting up this process, which is the command's own."""
    # XLA prints alarms of slow compilation, and up to 0.10.1 kilobytes for each program that it finds in its cache, as
    # errors (jax issue 38445); what ends a program is raised too. JAX reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from rpo_jax.cli.main import main as run
    from rpo_jax.cli.streams import open_closed_descriptors
    from rpo_jax.execution.waiting import is_hanging

    open_closed_descriptors()
    code = run()
    if is_hanging():  # Python would wait for it
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
