"""Does every environment compute the same with XLA's fused kernels, as users compile it, and without them?

Each environment plays 100 steps of random actions in a program compiled by plain `jax.jit`, in one compiled as rpo_jax
compiles, and in one without fused kernels, from common states every 10 steps. A process for each, so that a crash is
one row. What is recorded for the jaxlib in use is not run again.
"""

import json
import sys
import time
from importlib.metadata import version
from typing import Annotated, Any

import tyro
from rich.console import Console

from processes import Broken, last_line
from recording import add, device_kind, records
from rpo_jax.envs import SUITES
from rpo_jax.envs.suites import brax

IN_JAX = ("gymnax", "brax", "playground")
NUM_STEPS = 100
CPU_SECONDS = 7200  # of a row; fused sums of 0.11.2 are slow
TIME_OUT = 6 * 3600.0  # seconds, also where others use the cores
PROGRAM = f"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, ({CPU_SECONDS}, {CPU_SECONDS}))
from rpo_jax import make_env
from rpo_jax.diagnosis.stepping import compare
name, backend, num_envs = sys.argv[1:]
env = make_env(name, backend=None if backend == "-" else backend)
found = compare(env, int(num_envs), {NUM_STEPS})
told = [f"{{way}}: {{', '.join(row.wrong)}}" for way, row in found.items() if row.wrong]
rows = {{way: {{"reset": row.reset, "steps": row.steps, "nudged": row.nudged}} for way, row in found.items()}}
print(json.dumps({{"outcome": "; ".join(told) or "right", "differences": rows}}))
"""


def main(
    envs: Annotated[tuple[str, ...], tyro.conf.Positional] = IN_JAX,
    *,
    num_envs: tuple[int, ...] = (128, 1024),
    backends: tuple[str, ...] = brax.BACKENDS,
) -> None:
    """Compares every environment with and without fused kernels, and writes `results/correctness.json`.

    Args:
        envs: what is compared: environments whose names begin with one of these, such as brax or brax/ant.
        num_envs: numbers of environments in one call.
        backends: of Brax.
    """
    for size in num_envs:
        for env, backend in _environments(envs, backends):
            place = {"env": env, "backend": backend, "num_envs": size, "jaxlib": version("jaxlib")}
            place["device"] = device_kind()
            if any(place.items() <= row.items() for row in records("correctness")):
                continue
            row = place | _measured(env, backend, size)
            Console(stderr=True).print(row)
            add("correctness", row, *place)


def _environments(envs: tuple[str, ...], backends: tuple[str, ...]) -> list[tuple[str, str]]:
    names = [f"{suite}/{task}" for suite in IN_JAX for task in SUITES[suite].tasks()]
    return [
        (name, backend)
        for name in names
        if name.startswith(envs)
        for backend in (backends if name.startswith("brax/") else ("-",))
        if name != "brax/swimmer" or backend == "generalized"
    ]


def _measured(env: str, backend: str, num_envs: int) -> dict[str, Any]:
    began = time.perf_counter()
    try:
        found = json.loads(last_line(sys.executable, PROGRAM, env, backend, str(num_envs), seconds=TIME_OUT))
    except Broken as broken:
        found = {"outcome": str(broken)}
    return {**found, "seconds": round(time.perf_counter() - began, 1)}


if __name__ == "__main__":
    tyro.cli(main)
