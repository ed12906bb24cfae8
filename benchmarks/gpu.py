"""What is to be learned when a GPU is at hand, in parts that each leave complete results.

- speed: whole training beside other libraries, processes taking turns; works of up to 16 seeds at once.
- flags: the same works with XLA's options for command buffers.
- kernels: what one call of training launches, how long the kernels take, and what share of the time the GPU is busy.
- same: does a seed give the same run twice, alone and among others, and what does it cost to make it so?
- learning: preset `fast`, whose returns stand beside those of the same runs on a CPU.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal, get_args

import tyro

from arguments import chosen
from libraries import LIBRARIES, given_pythons, python_of
from recording import Row, add, command, records
from workers import Job, Name, console, environment, measure
from works import GPU_WORKS, Work

Part = Literal["speed", "flags", "kernels", "same", "learning"]
LOOPS = "--xla_gpu_enable_command_buffer=+WHILE"
SMALL = "--xla_gpu_graph_min_graph_size=1"
FLAGS = {
    "none": "",
    "loops": LOOPS,
    "loops, small graphs": f"{LOOPS} {SMALL}",
    "loops, small graphs, unrolled": f"{LOOPS} {SMALL} --xla_gpu_command_buffer_unroll_loops=true",
    "no command buffers": "--xla_gpu_enable_command_buffer=",
    "no Triton products": "--xla_gpu_enable_triton_gemm=false",
    "no autotuning": "--xla_gpu_autotune_level=0",
    "no multi-output fusion": "--xla_disable_hlo_passes=multi_output_fusion",
}
TASKS = ("gymnax/Pendulum-v1", "brax/inverted_pendulum", "brax/reacher", "brax/hopper", "brax/ant")  # that are learned
MANY = 16  # seeds of a work that runs beside others
PROGRAM = Path(__file__).parent / "gpu_program.py"
Measure = Callable[[list[Job], dict[str, Work]], dict[Job, Row]]
Found = Iterator[tuple[str, Row, tuple[str, ...]]]  # a row, the results it belongs to, and the fields that name it


def main(
    parts: Annotated[tuple[Part, ...], tyro.conf.Positional] = get_args(Part),
    *,
    works: tuple[str, ...] = (),
    libraries: tuple[str, ...] = ("rpo_jax", "Rejax"),
    flags: tuple[str, ...] = (),
    runs: int = 3,
    python: tuple[str, ...] = (),
    gpu: bool = True,
) -> None:
    """Writes `results/throughput_gpu.json` and `results/gpu_PART.json`, after every group of works.

    Args:
        parts: what is measured.
        works: names of works; all if none.
        libraries: names of libraries.
        flags: names of sets of flags; all if none.
        runs: calls of each, of which the median counts.
        python: LIBRARY=PATH of a Python that has the library installed.
        gpu: or small works on a CPU, of which nothing is kept.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # this process asks for the GPU's name
    given, libraries = given_pythons(python), chosen("library", libraries, LIBRARIES)
    table = {name: _sized(GPU_WORKS[name], gpu) for name in chosen("work", works, GPU_WORKS)}
    names_of_flags = chosen("set of flags", flags, FLAGS)

    def take_turns(jobs: list[Job], works: dict[str, Work]) -> dict[Job, Row]:
        pythons = {library: python_of(library, given) for library in {job.library for job in jobs}}
        return measure(jobs, works, pythons, runs=runs, gpu=gpu, failures=[], at_once=len(jobs))

    rows: dict[Part, Callable[[], Found]] = {
        "speed": lambda: speed(table, libraries, take_turns),
        "flags": lambda: with_flags(table, names_of_flags, take_turns),
        "kernels": lambda: kernels(table, gpu),
        "same": lambda: same(table, gpu),
        "learning": lambda: learning(gpu),
    }
    for part in parts:
        for name, row, key in rows[part]():
            console.print({field: value for field, value in row.items() if field not in ("kernels", "curves")})
            if gpu:
                add(name, {**row, "command": command(given.values())}, *key)


def _sized(work: Work, gpu: bool) -> Work:
    return work if gpu else dataclasses.replace(work, seeds=min(work.seeds, 2), num_envs=16, updates=2)


def speed(works: dict[str, Work], libraries: Iterable[str], take_turns: Measure) -> Found:
    """Libraries in turns, as many works at once as fit into the memory: those of hundreds of seeds by themselves."""
    for many in dict.fromkeys(work.seeds > MANY for work in works.values()):
        group = {name: work for name, work in works.items() if (work.seeds > MANY) == many}
        jobs = [Job(name, library) for name in group for library in libraries if LIBRARIES[library].can(group[name])]
        found = take_turns(jobs, group)
        for name, work in group.items():
            of_work = {job.library: result for job, result in found.items() if job.work == name}
            yield "throughput_gpu", {"work": name, **dataclasses.asdict(work), "libraries": of_work}, ("work",)


def with_flags(works: dict[str, Work], names: Iterable[str], take_turns: Measure) -> Found:
    """Ours with each set of flags in turns, one work after another."""
    for name, work in works.items():
        found = take_turns([Job(name, "rpo_jax", FLAGS[key]) for key in names], {name: work})
        for job, result in found.items():
            yield "gpu_flags", {"work": name, "flags": job.flags, **result}, ("work", "flags")


def kernels(works: dict[str, Work], gpu: bool) -> Found:
    """What a call of two rounds launches; all compile at once."""
    short = {name: dataclasses.replace(work, updates=2) for name, work in works.items()}
    for name, row in run_programs("kernels", {name: (_json(work), "") for name, work in short.items()}, gpu):
        yield "gpu_kernels", {"work": name, "rounds": 2, **row}, ("work",)


def same(works: dict[str, Work], gpu: bool) -> Found:
    """One seed twice, and beside another, with XLA's deterministic operations and without; all compile at once."""
    flags = ("", "--xla_gpu_deterministic_ops=true")
    asked = {(name, flag): (_json(work), flag) for name, work in works.items() for flag in flags}
    for (name, flag), row in run_programs("same", asked, gpu):
        yield "gpu_same", {"work": name, "flags": flag, **row}, ("work", "flags")


def learning(gpu: bool) -> Found:
    """Preset `fast` on tasks that were trained on a CPU too; all at once."""
    on_cpu = {row["summary"]["env"]: row["summary"] for name in ("first_run", "brax_fast") for row in records(name)}
    for name, row in run_programs("learning", {task: (task, "") for task in TASKS}, gpu):
        returns = on_cpu[name]["final_return"][0] if name in on_cpu else []
        yield "gpu_learning", {"label": name, "on_cpu": returns, **row}, ("label",)


def run_programs(part: str, asked: dict[Name, tuple[str, str]], gpu: bool) -> Iterator[tuple[Name, Row]]:
    """What `gpu_program.py` prints for each of the arguments and flags, or how it failed; all run at once."""

    def run(argument: str, flags: str) -> Row:
        arguments = [sys.executable, str(PROGRAM), part, argument]
        done = subprocess.run(arguments, env=environment(gpu, flags), capture_output=True, text=True)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-1][:300]}
        return json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor(len(asked)) as pool:
        yield from zip(asked, pool.map(lambda name: run(*asked[name]), asked), strict=True)


def _json(work: Work) -> str:
    return json.dumps(dataclasses.asdict(work))


if __name__ == "__main__":
    tyro.cli(main)
