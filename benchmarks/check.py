"""What `rpo-jax check` says with the jaxlib that is installed: also with a broken one, once pip has put it there."""

import subprocess
import sys
import time
from importlib.metadata import version

from study import command, machine, records, users_environment, write


def main() -> None:
    """Adds to `results/check.json`."""
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
    others = [known for known in records("check") if known["jaxlib"] != row["jaxlib"]]
    write("check", [*others, {**row, "command": command(), "machine": machine()}])


if __name__ == "__main__":
    main()
