"""Compiles a work for an accelerator that is not there, and prints what one update would start, as a line of JSON.

Run by `compiled.py`: `python compiled_program.py LIBRARY TARGET WORK`, with the plug-in of that target installed. Such
a program was not tuned on a device and cannot be run: its counts and memory say something, its speed would not.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

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
Compilation: TypeAlias = Callable[[], Any]


def prepare(platform: str) -> None:
    """Sets what XLA reads from the environment; before JAX is imported."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}  # there is no TPU
    if platform == "cuda":
        folder = next((path for path in map(_cuda_of, sys.path) if os.path.isdir(path)), "")
        flags = f"--xla_gpu_autotune_level=0 --xla_gpu_cuda_data_dir={folder}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
        os.environ["PATH"] += f":{folder}/bin"


def _cuda_of(path: str) -> str:
    return os.path.join(path, "nvidia", "cu13")


def devices_of(platform: str, topology: str) -> Sequence[Any]:
    """The devices of a topology: of TPUs by its name, of H100s as "PARTITIONSxHOSTSxDEVICES"."""
    import jax
    from jax.experimental import topologies

    if platform == "tpu":
        return topologies.get_topology_desc(platform=platform, topology_name=topology).devices
    jax.devices()  # finds the plug-in
    sizes = {"target_config": H100, "topology": topology}
    return topologies.get_topology_desc(topology_name="H100", platform=platform, **sizes).devices


def ours(work: dict[str, Any], device: Any) -> Compilation:
    """RPO by `sweep`."""
    return sweep_on(work, [device])


def sweep_on(work: dict[str, Any], devices: Sequence[Any]) -> Compilation:
    """RPO by `sweep`, on these devices."""
    import rpo_jax
    from rpo_jax.execution.devices import spread_runs
    from rpo_jax.execution.sweep import as_runs, compile_sweep

    sizes = {name: work[name] for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "shuffle")}
    sizes["hidden_sizes"] = (work["width"],) * 2
    config = rpo_jax.TrainConfig(total_timesteps=work["updates"] * work["num_envs"] * work["num_steps"], **sizes)
    options = {"batching": work["batching"]} if work.get("batching") else {}
    agent = rpo_jax.make_agent(rpo_jax.make_env(work["env"], **options), rpo_jax.RPO, config)
    runs = as_runs(rpo_jax.grid(), rpo_jax.seeds(0, work["seeds"]))
    spread = spread_runs(agent, work["seeds"], devices)
    return lambda: compile_sweep(runs, spread)


def rejax(work: dict[str, Any], device: Any) -> Compilation:
    """Rejax's PPO, vmapped over seeds."""
    import jax
    from rejax_ppo import make_training

    train = make_training(work)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), work["seeds"]))
    where = jax.sharding.SingleDeviceSharding(device)
    return lambda: train.lower(jax.ShapeDtypeStruct(keys.shape, keys.dtype, sharding=where)).compile()


def brax(work: dict[str, Any], device: Any) -> Compilation:
    """An epoch of Brax's PPO, got where its `train` is about to begin it; what comes before runs on the CPU."""
    from unittest import mock

    import jax
    from brax_ppo import make_training

    class Begun(Exception):
        """Holds the epoch and its arguments."""

    def pmap(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def begin(*args: Any) -> None:
            raise Begun(on_cpu(function, devices=[device], **options), jax.eval_shape(lambda: args))

        return begin if function.__name__ == "training_epoch" else on_cpu(function, **options)

    on_cpu = jax.pmap
    with mock.patch.object(jax, "pmap", pmap):
        try:
            make_training(work)()
        except Begun as begun:
            epoch, args = begun.args
            return lambda: epoch.lower(*args).compile()
    raise AssertionError("Brax's train began no epoch")


def _needed_bytes(sizes: Any) -> int:
    """Of arguments, results and what is in between, as XLA plans them."""
    kept = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return kept + sizes.temp_size_in_bytes


LIBRARIES: dict[str, Callable[[dict[str, Any], Any], Compilation]] = {"rpo_jax": ours, "Rejax": rejax, "Brax PPO": brax}


def main(library: str, target: str, work: dict[str, Any]) -> dict[str, Any]:
    """What is found of a library's program for a target."""
    from hlo import COLLECTIVES, describe, find_update, loops_of, started_in

    prepare(TARGETS[target][0])
    compile_program = LIBRARIES[library](work, devices_of(*TARGETS[target])[0])
    began = time.process_time()
    compiled = compile_program()
    seconds, text = time.process_time() - began, compiled.as_text()
    update = find_update(loops_of(text), work["updates"])
    import jax

    return {
        "update": started_in(update, work["num_epochs"]),
        "loops": describe(update),
        "mebibytes": round(_needed_bytes(compiled.memory_analysis()) / 2**20, 1),
        "collectives": {
            kind: count for kind in COLLECTIVES if (count := len(re.findall(rf" {kind}(?:-start)?\(", text)))
        },
        "compile_cpu_seconds": round(seconds, 1),
        "jax": jax.__version__,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))))
