"""How long does a new user wait? Bare `rpo-jax train`, twice, with an empty cache of compiled programs at first."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from study import RESULTS, command, machine


def main() -> None:
    """Runs the command twice and records wall time, all included."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("first", "second"):
            out = Path(scratch) / name
            began = time.perf_counter()
            arguments = [sys.executable, "-m", "rpo_jax", "train", "--out", str(out)]
            subprocess.run(arguments, check=True, env={**os.environ, "XDG_CACHE_HOME": scratch})
            seconds = time.perf_counter() - began
            summary = json.loads((out / "summary.json").read_text())
            rows.append({"run": name, "wall_seconds": round(seconds, 1), "summary": summary})
    content = {"command": command(), "machine": machine(), "runs": rows}
    (RESULTS / "first_run.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
