"""Runs checks: `python -m rpo_jax.diagnosis NAME ...`; each finding is a line of JSON on standard output."""

import dataclasses
import json
import sys

from rpo_jax.diagnosis.checks import checks_of

if __name__ == "__main__":
    checks = {name: check for group in checks_of(long=True) for name, check in group.items()}
    for name in sys.argv[1:]:
        print(json.dumps(dataclasses.asdict(checks[name]())), flush=True)
