"""What `rpo-jax check` says with the jaxlib that is installed: also with a broken one, once pip has put it there."""

import json
import subprocess
import sys
import time
from importlib.metadata import version

from study import RESULTS, command, machine, users_environment, write


def main() -> None:
    """Adds to `results/check.json`."""
    path = RESULTS / "check.json"
    began = time.perf_counter()
    program = [sys.executable, "-m", "rpo_jax", "check"]
    done = subprocess.run(program, env=users_environment(), capture_output=True, text=True)
    row = {
        "jaxlib": version("jaxlib"),
        "exit_code": done.returncode,
        "seconds": round(time.perf_counter() - began, 1),
        "output": done.stdout.splitlines(),
    }
    print(done.stdout, row["seconds"])
    rows = json.loads(path.read_text())["runs"] if path.exists() else []
    others = [known for known in rows if known["jaxlib"] != row["jaxlib"]]
    write(path.stem, [*others, {**row, "command": command(), "machine": machine()}])


if __name__ == "__main__":
    main()
