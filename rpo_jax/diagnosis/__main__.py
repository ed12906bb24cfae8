"""Runs one check: `python -m rpo_jax.diagnosis NAME`; its last line is the finding, as JSON."""

import dataclasses
import json
import sys

from rpo_jax.diagnosis.checks import checks_of

if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(checks_of(long=True)[sys.argv[1]]())))
