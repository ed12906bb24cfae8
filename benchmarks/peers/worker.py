"""What every library's worker does: make its training program, then run it whenever the parent says so.

A worker prints one line of JSON for its first call, which compiles, one for each call after it, and at the end its
peak memory. It imports nothing but the standard library and the library it measures, since each has an environment of
its own.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(make: Callable[[dict[str, Any]], Callable[[], Any]]) -> None:
    """Serves `make(work)`, a function that trains once and waits for the end."""
    work = json.loads(sys.argv[1])
    began = time.perf_counter()
    train = make(work)
    train()
    _say(first_call_seconds=time.perf_counter() - began)
    for _ in sys.stdin:
        began = time.perf_counter()
        train()
        _say(seconds=time.perf_counter() - began)
    _say(peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, **_gpu_memory())


def _gpu_memory() -> dict[str, int]:
    import jax

    statistics = jax.devices()[0].memory_stats() or {}
    return {"peak_device_bytes": statistics["peak_bytes_in_use"]} if "peak_bytes_in_use" in statistics else {}


def _say(**content: Any) -> None:
    print(json.dumps(content), flush=True)
