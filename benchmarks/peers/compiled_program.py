"""Compiles a work for an accelerator that is not there, and prints what one update would start, as a line of JSON.

Run by `compiled.py`: `python compiled_program.py LIBRARY TARGET WORK`, with the plug-in of that target installed. Such
a program was not tuned on a device and cannot be run: its counts and memory say something, its speed would not.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# Of an H100 SXM, as XLA describes one.
H100 = """gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84978434048
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
TARGETS = {"H100": ("cuda", "1x1x1"), "TPU v5e": ("tpu", "v5e:2x2"), "TPU v6e": ("tpu", "v6e:2x2")}
FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "after-all", "partition-id", "replica-id")
ENDS = ("fusion-done", "copy-done", "all-reduce-done", "all-gather-done", "async-done", "slice-done")  # of one begun
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")


class Loop(NamedTuple):
    """A loop of a compiled program, or its entry.

    Attributes:
        trips: how often it runs, one after another; None if that is not known when it is compiled.
        operations: that one pass starts by itself, by kind.
        inner: the loops in it.
    """

    trips: int | None
    operations: dict[str, int]
    inner: list["Loop"]


def prepare(platform: str) -> None:
    """Sets what XLA reads from the environment; before JAX is imported."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    if platform == "cuda":
        folder = next((path for path in map(_cuda_of, sys.path) if os.path.isdir(path)), "")
        flags = f"--xla_gpu_autotune_level=0 --xla_gpu_cuda_data_dir={folder}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
        os.environ["PATH"] += f":{folder}/bin"


def _cuda_of(path: str) -> str:
    return os.path.join(path, "nvidia", "cu13")


def device_of(target: str) -> Any:
    """The first device of a target."""
    import jax
    from jax.experimental import topologies

    platform, topology = TARGETS[target]
    if platform == "tpu":
        return topologies.get_topology_desc(platform=platform, topology_name=topology).devices[0]
    jax.devices()  # finds the plug-in
    sizes = {"target_config": H100, "topology": topology}
    return topologies.get_topology_desc(topology_name="H100", platform=platform, **sizes).devices[0]


def compile_ours(work: dict[str, Any], device: Any) -> Any:
    """RPO by `sweep`."""
    import rpo_jax
    from rpo_jax.execution.devices import spread_runs
    from rpo_jax.execution.sweep import as_runs, compile_sweep

    sizes = {name: work[name] for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "shuffle")}
    sizes["hidden_sizes"] = (work["width"],) * 2
    config = rpo_jax.TrainConfig(total_timesteps=work["updates"] * work["num_envs"] * work["num_steps"], **sizes)
    options = {"batching": work["batching"]} if work.get("batching") else {}
    agent = rpo_jax.make_agent(rpo_jax.make_env(work["env"], **options), rpo_jax.RPO, config)
    runs = as_runs(rpo_jax.grid(), rpo_jax.seeds(0, work["seeds"]))
    return compile_sweep(runs, spread_runs(agent, work["seeds"], [device]))


def compile_rejax(work: dict[str, Any], device: Any) -> Any:
    """Rejax's PPO, vmapped over seeds."""
    import jax
    from rejax_ppo import make_training

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), work["seeds"]))
    where = jax.sharding.SingleDeviceSharding(device)
    return make_training(work).lower(jax.ShapeDtypeStruct(keys.shape, keys.dtype, sharding=where)).compile()


def loops_of(text: str) -> Loop:
    """The entry of an optimised HLO module, and its loops."""
    computations: dict[str, list[str]] = {}
    name = entry = ""
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if heading := re.match(r"^(ENTRY )?%([\w.\-]+) .*\{\s*$", line):
            name = heading.group(2)
            computations[name], entry = [], name if heading.group(1) else entry
        elif line.startswith("}"):
            name = ""
        elif name:
            computations[name].append(line)

    def visit(name: str, trips: int | None) -> Loop:
        operations: dict[str, int] = {}
        inner = []
        for line in computations[name]:
            found = re.search(r"= (?:\([^=]*?\)|\S+) ([\w\-]+)\(", line)
            if not found or found.group(1) in (*FREE, *ENDS):
                continue
            if found.group(1) != "while":
                operations[found.group(1)] = operations.get(found.group(1), 0) + 1
                continue
            known = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            body = re.search(r"body=%?([\w.\-]+)", line)
            assert body, line
            inner.append(visit(body.group(1), int(known.group(1)) if known else None))
        return Loop(trips, operations, inner)

    return visit(entry, 1)


def find_update(entry: Loop, updates: int) -> Loop:
    """The loop over updates: of so many trips, and with most in it."""
    return max((loop for loop in _all_of(entry) if loop.trips == updates), key=lambda loop: started_in(loop, 1))


def _all_of(loop: Loop) -> Iterator[Loop]:
    yield loop
    for inner in loop.inner:
        yield from _all_of(inner)


def started_in(loop: Loop, unknown: int) -> int:
    """Operations that one pass starts in all; a loop of unknown length is taken to run `unknown` times."""
    inner = sum((inner.trips or unknown) * started_in(inner, unknown) for inner in loop.inner)
    return sum(loop.operations.values()) + inner


def describe(loop: Loop) -> dict[str, Any]:
    """The same for JSON."""
    own = {"trips": loop.trips, "operations": sum(loop.operations.values())}
    return own | ({"loops": [describe(inner) for inner in loop.inner]} if loop.inner else {})


COMPILERS: dict[str, Callable[[dict[str, Any], Any], Any]] = {"rpo_jax": compile_ours, "Rejax": compile_rejax}


def main(library: str, target: str, work: dict[str, Any]) -> dict[str, Any]:
    """What is found of a library's program for a target."""
    prepare(TARGETS[target][0])
    device, began = device_of(target), time.perf_counter()
    compiled = COMPILERS[library](work, device)
    seconds, text, memory = time.perf_counter() - began, compiled.as_text(), compiled.memory_analysis()
    update = find_update(loops_of(text), work["updates"])
    import jax

    return {
        "update": started_in(update, work["num_epochs"]),
        "loops": describe(update),
        "mebibytes": round(memory.temp_size_in_bytes / 2**20, 1),
        "collectives": {
            kind: count for kind in COLLECTIVES if (count := len(re.findall(rf" {kind}(?:-start)?\(", text)))
        },
        "compile_seconds": round(seconds, 1),
        "jax": jax.__version__,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
