"""How fast is whole training beside other libraries, in one run on one machine?

Each library trains the same work in a process and a virtual environment of its own, which this script makes. The first
call is timed from the start of that process; then the libraries take turns, and the median of their calls counts as
speed. Nobody logs or evaluates.
"""

import dataclasses
import sys
from functools import partial

import tyro

from arguments import chosen
from libraries import LIBRARIES, given_pythons, python_of
from recording import add, command, records
from workers import Job, attempt, measure
from works import GPU_WORKS, WORKS


def main(
    *,
    works: tuple[str, ...] = (),
    libraries: tuple[str, ...] = (),
    runs: int = 5,
    gpu: bool = False,
    updates: int | None = None,
    python: tuple[str, ...] = (),
) -> None:
    """Times training by several libraries, and writes `results/throughput.json`.

    A record of more libraries than were measured now is left as it is.

    Args:
        works: names of works; all if none.
        libraries: names of libraries; all if none.
        runs: calls of each, of which the median counts.
        gpu: the works for a GPU, on the default device; writes `results/throughput_gpu.json`.
        updates: rounds of each run, to try the script out; writes nothing.
        python: LIBRARY=PATH of a Python that has the library installed.
    """
    if runs < 1:
        sys.exit(f"--runs {runs} is out of range: it must be 1 or more")
    table, name_of_results = (GPU_WORKS, "throughput_gpu") if gpu else (WORKS, "throughput")
    given, failures = given_pythons(python), []
    chosen("library", tuple(given), LIBRARIES)
    names, libraries = chosen("work", works, table), chosen("library", libraries, LIBRARIES)
    pythons = attempt(libraries, partial(python_of, given=given), failures)
    for name in names:
        work = table[name] if updates is None else dataclasses.replace(table[name], updates=updates)
        jobs = [Job(name, library) for library in libraries if LIBRARIES[library].can(work)]
        times = measure(jobs, {name: work}, pythons, runs=runs, gpu=gpu, failures=failures)
        found = {job.library: result for job, result in times.items()}
        if found and updates is None and _known_libraries(name_of_results, name) <= set(found):
            row = {"work": name, **dataclasses.asdict(work), "command": command(given.values()), "libraries": found}
            add(name_of_results, row, "work")
    if failures:
        sys.exit("\n".join(["failed, and left out:", *failures]))


def _known_libraries(name: str, work: str) -> set[str]:
    return {library for row in records(name) if row["work"] == work for library in row["libraries"]}


if __name__ == "__main__":
    tyro.cli(main)
