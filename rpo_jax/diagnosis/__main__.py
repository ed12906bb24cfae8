"""Runs checks: `python -m rpo_jax.diagnosis NAME ...`; each finding is a line of JSON on standard output.

It ends when its standard input does.
"""

import dataclasses
import json
import os
import sys
import threading
from collections.abc import Callable

from rpo_jax.compiling.probe import report_it
from rpo_jax.diagnosis.checks import Finding, checks_of


def end_with_input() -> None:
    """Ends the process once nobody holds the other end of its input, even where a check hangs."""
    while os.read(0, 1):  # a buffered reader would hold a lock where the process ends by itself
        pass
    os._exit(1)


def made(check: Callable[[], Finding]) -> Finding:
    """What a check finds; an error of its own is a finding too, and those after it are made."""
    try:
        return check()
    except Exception as error:
        told = (str(error).strip().splitlines() or [""])[0]
        return Finding(False, f"fails: {type(error).__name__}: {told}", report_it())


if __name__ == "__main__":
    threading.Thread(target=end_with_input, daemon=True).start()
    checks = {name: check for group in checks_of(long=True) for name, check in group.items()}
    for name in sys.argv[1:]:
        print(json.dumps(dataclasses.asdict(made(checks[name]))), flush=True)
