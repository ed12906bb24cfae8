"""Compiles training by many devices that are not there, and prints what they exchange, as a line of JSON.

Run by `pods.py`: `python pod_program.py PLATFORM TOPOLOGY LAYOUT WORK`, with the plug-in of that platform installed.
"""

import json
import sys
import time
from typing import Any

from compiled_program import devices_of, prepare, sweep_on
from hlo import exchanges_in, find_update, loops_of


def main(platform: str, topology: str, layout: str, work: dict[str, Any]) -> dict[str, Any]:
    """What is found of a program for all devices of a topology.

    Args:
        platform: "cuda" or "tpu".
        topology: as of `devices_of`.
        layout: what is multiplied by the number of devices: the work's "runs" or its "environments".
        work: of one device.
    """
    prepare(platform)
    devices = devices_of(platform, topology)
    count = {"runs": "seeds", "environments": "num_envs"}[layout]
    compile_program = sweep_on(work | {count: len(devices) * work[count]}, devices)
    began = time.process_time()
    compiled = compile_program()
    seconds, program = time.process_time() - began, loops_of(compiled.as_text())
    found = list(exchanges_in(find_update(program, work["updates"])))
    sizes = compiled.memory_analysis()
    import jax

    return {
        "devices": len(devices),
        "round": [exchange._asdict() | {"trips": trips} for exchange, trips in found],
        "outside": len(list(exchanges_in(program))) - len(found),
        "bytes": {part: getattr(sizes, f"{part}_size_in_bytes") for part in ("argument", "output", "temp")},
        "compile_cpu_seconds": round(seconds, 1),
        "jax": jax.__version__,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4], json.loads(sys.argv[4]))))
