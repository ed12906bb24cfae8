"""How long does a new user wait? Bare `rpo-jax train`, twice, with an empty cache of compiled programs at first."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tyro

from processes import users_environment
from recording import origin, write


def main() -> None:
    """Runs the command twice, and writes its wall time, all included, into `results/first_run.json`."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("first", "second"):
            out = Path(scratch) / name
            began = time.perf_counter()
            arguments = [sys.executable, "-m", "rpo_jax", "train", "--out", str(out)]
            subprocess.run(arguments, check=True, env={**users_environment(), "XDG_CACHE_HOME": scratch})
            seconds = time.perf_counter() - began
            summary = json.loads((out / "summary.json").read_text())
            rows.append({"run": name, "wall_seconds": round(seconds, 1), "summary": summary})
    write("first_run", [origin() | row for row in rows])  # JAX starts here, and has disturbed neither


if __name__ == "__main__":
    tyro.cli(main)
