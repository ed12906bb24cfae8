"""What `rpo-jax check` says with the jaxlib that is installed: also with a broken one, once pip has put it there."""

import subprocess
import sys
import time
from importlib.metadata import version

import tyro

from processes import users_environment
from recording import add


def main() -> None:
    """Runs the command, and adds what it says to `results/check.json`."""
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
    add("check", row, "jaxlib")


if __name__ == "__main__":
    tyro.cli(main)
