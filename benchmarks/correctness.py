"""Does every environment compute right, compiled as a user compiles it?

Each environment plays 100 steps of random actions in a program compiled by plain `jax.jit`, and in one without XLA's
libraries of fused kernels, from common states every 10 steps. A process for each, so that a crash is one row. What is
recorded for the jaxlib in use is not run again.
"""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Annotated, Any

USERS = dict(os.environ)  # before this benchmark sets its own

import tyro
from rich.console import Console

from rpo_jax.diagnosis.checks import SEGMENT_TOLERANCE, STEP_TOLERANCE
from rpo_jax.diagnosis.stepping import Differences, compare_resets, compare_steps
from rpo_jax.envs import SUITES, brax_suite, make_env
from study import RESULTS, command, machine, write

NUM_STEPS = 100
TIME_OUT = 1200.0  # seconds


def main(
    suites: Annotated[tuple[str, ...], tyro.conf.Positional] = ("gymnax", "brax", "playground"),
    *,
    num_envs: tuple[int, ...] = (128, 1024),
    backends: Annotated[tuple[str, ...], tyro.conf.arg(help="of Brax")] = brax_suite.BACKENDS,
    one: Annotated[tuple[str, str, int] | None, tyro.conf.arg(help="environment, backend or -, environments")] = None,
) -> None:
    """Writes `results/correctness.json`."""
    if one:
        print(json.dumps(_measure(*one)))
        return
    path = RESULTS / "correctness.json"
    console = Console(stderr=True)
    for size in num_envs:
        for env, backend in _environments(suites, backends):
            rows = json.loads(path.read_text())["runs"] if path.exists() else []
            place = {"env": env, "backend": backend, "num_envs": size, "jaxlib": version("jaxlib")}
            if any(place.items() <= row.items() for row in rows):
                continue
            row = {**place, **_in_a_process(env, backend, size), "command": command(), "machine": machine()}
            console.print(row)
            rows = json.loads(path.read_text())["runs"] if path.exists() else []  # others may write too
            write(path.stem, [*rows, row])


def _environments(suites: tuple[str, ...], backends: tuple[str, ...]) -> list[tuple[str, str]]:
    names = [f"{suite}/{task}" for suite in suites for task in SUITES[suite].tasks()]
    return [
        (name, backend)
        for name in names
        for backend in (backends if name.startswith("brax/") else ("-",))
        if name != "brax/swimmer" or backend == "generalized"
    ]


def _in_a_process(env: str, backend: str, num_envs: int) -> dict[str, Any]:
    began = time.perf_counter()
    program = [sys.executable, __file__, "--one", env, backend, str(num_envs)]
    try:
        done = subprocess.run(program, env=USERS, capture_output=True, text=True, timeout=TIME_OUT, check=False)
    except subprocess.TimeoutExpired:
        return {"outcome": "hangs"}
    seconds = round(time.perf_counter() - began, 1)
    if done.returncode < 0:
        return {"outcome": f"crashes: {signal.Signals(-done.returncode).name}", "seconds": seconds}
    if done.returncode:
        sys.exit(done.stderr)
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": seconds}


def _measure(name: str, backend: str, num_envs: int) -> dict[str, Any]:
    env = make_env(name, backend=None if backend == "-" else backend)
    found = compare_steps(env, num_envs, NUM_STEPS)
    reset = compare_resets(env, num_envs) if num_envs <= 128 else 0.0
    return {"outcome": _outcome(found, reset), "reset": reset, **found._asdict()}


def _outcome(found: Differences, reset: float) -> str:
    right = max(found.first, reset) < STEP_TOLERANCE and found.last < SEGMENT_TOLERANCE
    return "right" if right else "wrong"


if __name__ == "__main__":
    tyro.cli(main)
