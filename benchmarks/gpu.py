"""What is to be learned when a GPU is at hand, in parts that each leave complete results.

- speed: whole training beside other libraries, processes taking turns; all works of as many seeds at once.
- flags: the same works with XLA's options for command buffers.
- kernels: what one call of training launches, how long the kernels take, and what share of the time the GPU is busy.
- same: does a seed give the same run twice, alone and among others, and what does it cost to make it so?
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, get_args

import tyro

import throughput
from study import machine, records, write
from throughput import (
    GPU_WORKS,
    LIBRARIES,
    Job,
    Work,
    check_known,
    command_without,
    console,
    environment,
    given,
    measure,
    python_of,
)

Part = Literal["speed", "flags", "kernels", "same"]
LOOPS = "--xla_gpu_enable_command_buffer=+WHILE"
SMALL = "--xla_gpu_graph_min_graph_size=1"
FLAGS = {
    "none": "",
    "loops": LOOPS,
    "loops, small graphs": f"{LOOPS} {SMALL}",
    "loops, small graphs, unrolled": f"{LOOPS} {SMALL} --xla_gpu_command_buffer_unroll_loops=true",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "no Triton products": "--xla_gpu_enable_triton_gemm=false",
}
SAME = """
import json, sys, time
import jax, numpy as np, rpo_jax
sys.path.insert(0, "benchmarks")
from roofline import agent_of
from throughput import Work
work = Work(**json.loads(sys.argv[1]))
agent = agent_of(work)
def train(first, count):
    began = time.perf_counter()
    result = jax.block_until_ready(rpo_jax.sweep(agent, rpo_jax.grid(), rpo_jax.seeds(first, count)))
    return jax.tree.map(np.asarray, result[1]), time.perf_counter() - began
def differ(a, b):
    return float(np.nanmax([np.nanmax(np.abs(a[k] - b[k]) / (1 + np.abs(b[k]))) for k in ("policy_loss", "entropy")]))
one, _ = train(0, 1)
again, seconds = train(0, 1)
two, _ = train(0, 2)
first = {name: x[:, :1] for name, x in two.items()}
print(json.dumps({"twice": differ(one, again), "among_others": differ(first, one), "seconds": seconds}))
"""
KERNELS = """
import json, sys, tempfile, pathlib, collections
import jax, rpo_jax
sys.path.insert(0, "benchmarks")
from roofline import agent_of
from throughput import Work
work = Work(**json.loads(sys.argv[1]))
agent, keys = agent_of(work), rpo_jax.seeds(0, work.seeds)
train = lambda: jax.block_until_ready(rpo_jax.sweep(agent, rpo_jax.grid(), keys))
train()
with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
        train()
    data = jax.profiler.ProfileData.from_file(str(next(pathlib.Path(folder).rglob("*.xplane.pb"))))
kinds, spans = collections.defaultdict(list), []
for plane in data.planes:
    if not plane.name.startswith("/device:GPU"):
        continue
    for line in plane.lines:
        if not line.name.startswith("Stream"):
            continue
        for event in line.events:
            size = next((str(value) for key, value in event.stats if key == "memcpy_details"), "")
            kinds[f"{event.name} {size}".strip()].append(event.duration_ns)
            spans.append((event.start_ns, event.start_ns + event.duration_ns))
rows = sorted(((sum(x), len(x), name) for name, x in kinds.items()), reverse=True)
begin, end = min(a for a, _ in spans), max(b for _, b in spans)
print(json.dumps({
    "launches": len(spans), "busy_seconds": sum(b - a for a, b in spans) / 1e9, "seconds": (end - begin) / 1e9,
    "kernels": [{"name": name, "count": count, "microseconds": total / 1e3} for total, count, name in rows[:60]],
}))
"""


@dataclasses.dataclass
class Options(throughput.Options):
    """What to measure."""

    parts: Annotated[tuple[Part, ...], tyro.conf.Positional] = get_args(Part)
    libraries: tuple[str, ...] = ("rpo_jax", "Rejax")
    flags: tuple[str, ...] = tuple(FLAGS)
    runs: int = 3
    gpu: Annotated[bool, tyro.conf.arg(help="or small works on a CPU, of which nothing is kept")] = True


def main(options: Options) -> None:
    """Writes `results/throughput_gpu.json` and `results/gpu_PART.json`, after every group of works."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # this process asks for the GPU's name
    check_known("work", options.works, GPU_WORKS)
    names = options.works or tuple(GPU_WORKS)
    works = {name: GPU_WORKS[name] if options.gpu else _tiny(GPU_WORKS[name]) for name in names}
    for part in options.parts:
        {"speed": speed, "flags": flags, "kernels": kernels, "same": same}[part](works, options)


def _tiny(work: Work) -> Work:
    return dataclasses.replace(work, seeds=min(work.seeds, 2), num_envs=16, updates=2)


def speed(works: dict[str, Work], options: Options) -> None:
    """Libraries in turns, works of as many seeds at once."""
    for seeds in dict.fromkeys(work.seeds for work in works.values()):
        group = {name: work for name, work in works.items() if work.seeds == seeds}
        jobs = [Job(name, lib) for name, work in group.items() for lib in options.libraries if LIBRARIES[lib].can(work)]
        found = measure(jobs, group, pythons_of(jobs, options), options, [], at_once=len(jobs))
        for name, work in group.items():
            libraries = {job.library: result for job, result in found.items() if job.work == name}
            row = {"work": name, **dataclasses.asdict(work), "libraries": libraries}
            keep("throughput_gpu", [row], ("work",), options)


def flags(works: dict[str, Work], options: Options) -> None:
    """Ours with each set of flags in turns, one work after another."""
    for name, work in works.items():
        jobs = [Job(name, "rpo_jax", FLAGS[key]) for key in options.flags]
        found = measure(jobs, {name: work}, pythons_of(jobs, options), options, [], at_once=len(jobs))
        rows = [{"work": name, "flags": job.flags, **result} for job, result in found.items()]
        keep("gpu_flags", rows, ("work", "flags"), options)


def kernels(works: dict[str, Work], options: Options) -> None:
    """What a call of two rounds launches; all compile at once."""
    with ThreadPoolExecutor(len(works)) as pool:
        found = pool.map(lambda work: run_program(KERNELS, dataclasses.replace(work, updates=2)), works.values())
    rows = [{"work": name, "rounds": 2, **row} for name, row in zip(works, found, strict=True)]
    keep("gpu_kernels", rows, ("work",), options)


def same(works: dict[str, Work], options: Options) -> None:
    """One seed twice, and beside another, with XLA's deterministic operations and without."""
    for name, work in works.items():
        for flag in ("", "--xla_gpu_deterministic_ops=true"):
            found = run_program(SAME, work, flag)
            keep("gpu_same", [{"work": name, "flags": flag, **found}], ("work", "flags"), options)


def pythons_of(jobs: Iterable[Job], options: Options) -> dict[str, str]:
    """The Pythons of the libraries that are measured."""
    return {library: python_of(library, given(options)) for library in {job.library for job in jobs}}


def run_program(program: str, work: Work, flags: str = "") -> dict[str, Any]:
    """What a program of its own prints of a work, or how it failed."""
    arguments = [sys.executable, "-c", program, json.dumps(dataclasses.asdict(work))]
    done = subprocess.run(arguments, env=environment(True, flags), capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def keep(name: str, rows: Iterable[dict[str, Any]], key: tuple[str, ...], options: Options) -> None:
    """Adds rows to `results/NAME.json`, in place of those of the same key."""
    for row in rows:
        console.print({field: value for field, value in row.items() if field != "kernels"})
        if options.gpu:
            new = {**row, "command": command_without(given(options).values()), "machine": machine()}
            others = [old for old in records(name) if any(old.get(part) != row[part] for part in key)]
            write(name, [*others, new])


if __name__ == "__main__":
    main(tyro.cli(Options))
