"""Times training of several libraries, each in a process of its own; the processes take turns."""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console

from libraries import LIBRARIES, Failure, last_lines
from works import Work

PEERS = Path(__file__).parent / "peers"
Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")
console = Console(stderr=True, highlight=False, soft_wrap=True)


class Job(NamedTuple):
    """A work of one library, with flags for XLA."""

    work: str
    library: str
    flags: str = ""

    def __str__(self) -> str:
        return f"{self.work}: {' '.join(filter(None, self[1:]))}"


class Worker:
    """A process that trains when told to."""

    def __init__(self, python: str, program: str, work: Work, errors: Path, environment: dict[str, str]):
        self._work, self._errors = work, errors
        self._seconds: list[float] = []
        began = time.perf_counter()
        with errors.open("w") as stderr:  # a pipe that nobody reads would fill
            self._process = subprocess.Popen(
                [python, str(PEERS / program), json.dumps(dataclasses.asdict(work))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )
        self._trainings = self._read()["trainings"]
        self._first = time.perf_counter() - began

    def train(self) -> float:
        """One call; its steps per second."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # reading tells why
            print("go", file=self._process.stdin, flush=True)
        self._seconds.append(self._read()["seconds"])
        return self._work.timesteps / self._seconds[-1]

    def close(self) -> dict[str, Any]:
        """Ends it; what was found."""
        assert self._process.stdin
        self._process.stdin.close()
        median = statistics.median(self._seconds)
        return {
            "timesteps": self._work.timesteps,
            "first_call_seconds": round(self._first, 2),
            "compile_seconds": round(self._first - self._trainings * median, 2),
            "seconds": [round(x, 4) for x in self._seconds],
            "steps_per_second": round(self._work.timesteps / median),
            **self._read(),
        }

    def kill(self) -> None:
        """Ends it if it still runs."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):  # Brax prints warnings too
                return json.loads(line)
        raise Failure(f"ended with status {self._process.wait()}:\n{last_lines(self._errors.read_text())}")


def environment(gpu: bool, flags: str = "") -> dict[str, str]:
    """Of a worker. A GPU is shared by the libraries; one whose JAX cannot use it fails, and is not timed on the CPU."""
    more = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()} if flags else {}
    if gpu:
        own = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
        return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **own, **more, "JAX_PLATFORMS": "cuda"}
    return {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin", **more}


def attempt(names: Iterable[Name], do: Callable[[Name], Result], failures: list[str]) -> dict[Name, Result]:
    """`do` for each name for which it succeeds; other failures are printed, and added to `failures`."""
    done = {}
    for name in names:
        try:
            done[name] = do(name)
        except (Failure, OSError) as failure:
            failures.append(f"{name} {failure}")
            console.print(failures[-1], markup=False)
    return done


def measure(
    jobs: Sequence[Job],
    works: Mapping[str, Work],
    pythons: Mapping[str, str],
    *,
    runs: int,
    gpu: bool,
    failures: list[str],
    at_once: int = 1,
) -> dict[Job, dict[str, Any]]:
    """Starts the jobs, then times all in turns.

    Args:
        jobs: what is timed; those of a library without a Python are left out.
        works: by name.
        pythons: by library.
        runs: calls of each job.
        gpu: whether workers compute on a GPU.
        failures: gets a line for each job that failed, which is left out of the results.
        at_once: jobs that start and compile side by side.
    """

    def start(job: Job) -> Worker:
        console.print(f"{job} compiles")
        known, errors = LIBRARIES[job.library], Path(folder) / f"{jobs.index(job)}.txt"
        work = known.part(works[job.work])
        return Worker(pythons[job.library], known.worker, work, errors, environment(gpu, job.flags))

    def train(job: Job) -> None:
        console.print(f"{job}: {workers[job].train():,.0f} steps/s")

    able = [job for job in jobs if job.library in pythons]
    workers: dict[Job, Worker] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            with ThreadPoolExecutor(at_once) as pool:
                for started in pool.map(lambda job: attempt([job], start, failures), able):
                    workers |= started
            well = list(workers)
            for _ in range(runs):
                well = list(attempt(well, train, failures))
            return attempt(well, lambda job: workers[job].close(), failures)
        finally:
            for worker in workers.values():
                worker.kill()
