"""What every library's worker does: make its training program, then run it whenever the parent says so.

A worker prints a line of JSON after its first call, one with the seconds of each later call, and at the end one with
its peak memory and the versions of what it measured. It imports nothing but the standard library and the library it
measures, since each has an environment of its own.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any


def serve(make: Callable[[dict[str, Any]], Callable[[], Any]], *packages: str, compiling_calls: int = 1) -> None:
    """Serves `make(work)`, a function that trains once and waits for the end, of these packages."""
    train = make(json.loads(sys.argv[1]))
    for _ in range(compiling_calls):
        train()
    _say(trainings=compiling_calls)  # the parent takes their time, from before this process began
    for _ in sys.stdin:
        began = time.perf_counter()
        train()
        _say(seconds=time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    _say(peak_bytes=peak, **_gpu_memory(), versions={name: version(name) for name in ("jax", *packages)})


def _gpu_memory() -> dict[str, int]:
    import jax

    statistics = jax.devices()[0].memory_stats() or {}
    return {"peak_device_bytes": statistics["peak_bytes_in_use"]} if "peak_bytes_in_use" in statistics else {}


def _say(**content: Any) -> None:
    print(json.dumps(content), flush=True)
