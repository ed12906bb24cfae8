"""Runs checks in this process: `python -m rpo_jax.diagnosis NAME ...` prints each finding as a line of JSON.

The process exits when its standard input is closed.
"""

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Callable

from rpo_jax.compiling.probe import report_it
from rpo_jax.diagnosis.checks import Finding, checks_of
from rpo_jax.errors import described


def end_with_input() -> None:
    """Exits the process once its standard input is closed, even if a check hangs; to be run in a thread."""
    while os.read(0, 1):  # a buffered reader would hold a lock when the process exits normally
        pass
    os._exit(1)


def run_check(check: Callable[[], Finding]) -> Finding:
    """Runs a check; an exception becomes a finding, so that the checks after it still run.

    Args:
        check: the check.

    Returns:
        What it found.
    """
    try:
        return check()
    except Exception as error:
        return Finding(False, f"fails: {described(error)}", report_it())


if __name__ == "__main__":
    threading.Thread(target=end_with_input, daemon=True).start()
    checks = {name: check for group in checks_of(long=True) for name, check in group.items()}
    for name in sys.argv[1:]:
        print(json.dumps(dataclasses.asdict(run_check(checks[name]))), flush=True)
