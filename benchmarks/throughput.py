"""How fast is whole training beside other libraries, in one run on one machine?

Each library trains the same work in a process and a virtual environment of its own, which this script makes. The first
call is taken from the start of that process; then the libraries take turns, and the median of their calls counts as
speed. Nobody logs or evaluates.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import tyro
from rich.console import Console

from rpo_jax.errors import unknown_name
from study import RESULTS, command, machine, write

HERE = Path(__file__).parent
Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")
console = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclasses.dataclass(frozen=True)
class Work:
    """One training job: `updates` rounds of each of `seeds` runs."""

    env: str
    seeds: int
    num_envs: int
    num_steps: int
    num_epochs: int
    num_minibatches: int
    updates: int
    shuffle: str = "environments"

    @property
    def timesteps(self) -> int:
        """Environment steps of all runs."""
        return self.seeds * self.num_envs * self.num_steps * self.updates


PENDULUM = "gymnax/Pendulum-v1"
WORKS = {
    "pendulum": Work(PENDULUM, 1, 1024, 32, 4, 8, 60),
    "pendulum-8-seeds": Work(PENDULUM, 8, 64, 128, 4, 8, 30),
    "pendulum-paper": Work(PENDULUM, 10, 1, 2048, 10, 32, 30, shuffle="samples"),
    "hopper": Work("brax/hopper", 1, 1024, 16, 4, 8, 20),
    "ant": Work("brax/ant", 1, 1024, 16, 4, 8, 10),
}
GPU_WORKS = {
    f"{env.partition('/')[2]}-{seeds}-seeds": Work(env, seeds, 4096, steps, 4, 8, updates)
    for seeds, updates in ((1, 50), (16, 20), (256, 4))
    for env, steps in ((PENDULUM, 32), ("brax/hopper", 16), ("brax/ant", 16))
}


@dataclasses.dataclass(frozen=True)
class Library:
    """One library: its worker, what it needs installed (None: this script's environment), and what it can train."""

    worker: str
    requirements: tuple[str, ...] | None
    suites: tuple[str, ...] = ("gymnax", "brax")
    most_seeds: int | None = None
    updates_share: float = 1.0  # of a work's rounds, where all of them would take too long
    differs: str = ""

    def can(self, work: Work) -> bool:
        """Whether it can train this."""
        return work.env.partition("/")[0] in self.suites and work.seeds <= (self.most_seeds or work.seeds)

    def part(self, work: Work) -> Work:
        """As much of the work as it is given."""
        return dataclasses.replace(work, updates=max(1, round(self.updates_share * work.updates)))


LIBRARIES = {
    "rpo_jax": Library("ours.py", None),
    "Rejax": Library(
        "rejax_ppo.py",
        ("rejax==0.1.3", "gymnax==0.0.9", "brax==0.14.2", "jax==0.10.1"),
        differs="resets every environment at every step, to use it where an episode ends; takes a time limit for the "
        "end of the task; shuffles single samples; updates its moments at every step; has an optimiser each for policy "
        "and value; clips each element of the gradient; on a CPU it is one device, whose operations use both cores",
    ),
    "Brax PPO": Library(
        "brax_ppo.py",
        ("brax==0.14.2", "jax==0.9.2", "jaxlib==0.9.2"),  # jax 0.10 lacks what it calls
        suites=("brax",),
        most_seeds=1,
        differs="does not normalise rewards; starts every episode of an environment from the same state; gives steps "
        "that a time limit cuts no advantage; normalises observations and computes advantages anew for each minibatch; "
        "goes on with the same run from call to call, so that only the first initialises; compiles in its first two "
        "calls, which count as one",
    ),
    "SBX": Library(
        "sbx_ppo.py",
        ("sbx-rl==0.28.0", "stable-baselines3==2.9.2", "gymnasium==1.4.0", "jax==0.10.1", "torch==2.13.0"),
        suites=("gymnax",),
        most_seeds=10,
        updates_share=1 / 30,
        differs="steps Gymnasium's Pendulum, one environment after another in Python, and only 1/30 of the rounds; "
        "trains seed after seed; goes on with the same networks from call to call; shuffles single samples; updates "
        "its moments at every step; does not clip the value loss; has an optimiser each for policy and value",
    ),
}


class Job(NamedTuple):
    """A work of one library, with flags for XLA."""

    work: str
    library: str
    flags: str = ""

    def __str__(self) -> str:
        return f"{self.work}: {' '.join(filter(None, self[1:]))}"


class Failure(Exception):
    """What a library could not do, for a person to read."""


@dataclasses.dataclass
class Options:
    """What to measure."""

    works: Annotated[tuple[str, ...], tyro.conf.arg(help="names of works; all if none")] = ()
    libraries: tuple[str, ...] = tuple(LIBRARIES)
    runs: int = 5
    gpu: Annotated[bool, tyro.conf.arg(help="the works for a GPU, on the default device")] = False
    updates: Annotated[int | None, tyro.conf.arg(help="rounds of each run, to try the script out")] = None
    python: Annotated[tuple[str, ...], tyro.conf.arg(help="LIBRARY=PATH of a Python that has it installed")] = ()


class Worker:
    """A process that trains when told to."""

    def __init__(self, python: str, program: str, work: Work, errors: Path, environment: dict[str, str]):
        self._work, self._errors = work, errors
        self._seconds: list[float] = []
        began = time.perf_counter()
        with errors.open("w") as stderr:  # a pipe that nobody reads would fill
            self._process = subprocess.Popen(
                [python, str(HERE / "peers" / program), json.dumps(dataclasses.asdict(work))],
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
        raise Failure(f"ended with status {self._process.wait()}:\n{_last_lines(self._errors.read_text())}")


def _last_lines(text: str) -> str:
    return "\n".join(text.splitlines()[-12:])


def environment(gpu: bool, flags: str = "") -> dict[str, str]:
    """Of a worker. A GPU is shared by the libraries; one whose JAX cannot use it fails, and is not timed on the CPU."""
    more = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()} if flags else {}
    if gpu:
        own = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
        return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **own, **more, "JAX_PLATFORMS": "cuda"}
    return {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin", **more}


def given(options: Options) -> dict[str, str]:
    """The Pythons that were given, by library."""
    return {library: path for library, _, path in (item.partition("=") for item in options.python)}


def main(options: Options) -> None:
    """Measures, and writes `results/throughput.json` (with --gpu: `throughput_gpu.json`).

    A record of more libraries than were measured now is left as it is.
    """
    if options.runs < 1:
        sys.exit(f"--runs {options.runs} is out of range: it must be 1 or more")
    works = GPU_WORKS if options.gpu else WORKS
    check_known("work", options.works, works)
    check_known("library", options.libraries, LIBRARIES)
    path = RESULTS / f"throughput{'_gpu' if options.gpu else ''}.json"
    check_known("library", given(options), LIBRARIES)
    failures: list[str] = []
    pythons = attempt(options.libraries, partial(python_of, given=given(options)), failures)
    known = json.loads(path.read_text())["runs"] if path.exists() and not options.updates else []
    runs = {run["work"]: run for run in known}
    for name in options.works or works:
        work = works[name] if options.updates is None else dataclasses.replace(works[name], updates=options.updates)
        jobs = [Job(name, library) for library in options.libraries if LIBRARIES[library].can(work)]
        found = {job.library: result for job, result in measure(jobs, {name: work}, pythons, options, failures).items()}
        sizes = dataclasses.asdict(work)
        run = {
            "work": name,
            **sizes,
            "command": command_without(given(options).values()),
            "machine": machine(),
            "libraries": found,
        }
        before = runs.get(name, {}).get("libraries", {})
        if found and set(before) <= set(found) and options.updates is None:
            runs[name] = run
            write(path.stem, list(runs.values()))
    if failures:
        sys.exit("\n".join(["failed, and left out:", *failures]))


def check_known(kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Ends the program if one of the names is unknown, and says which are known."""
    for name in set(names) - set(known):
        sys.exit(str(unknown_name(kind, name, known)))


def attempt(names: Iterable[Name], do: Callable[[Name], Result], failures: list[str]) -> dict[Name, Result]:
    """`do` for each library that manages; what keeps another from it is told, and added to `failures`."""
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
    works: dict[str, Work],
    pythons: dict[str, str],
    options: Options,
    failures: list[str],
    at_once: int = 1,
) -> dict[Job, dict[str, Any]]:
    """Starts so many jobs at once, then times all in turns."""

    def start(job: Job) -> Worker:
        console.print(f"{job} compiles")
        known, errors = LIBRARIES[job.library], Path(folder) / f"{jobs.index(job)}.txt"
        work = known.part(works[job.work])
        return Worker(pythons[job.library], known.worker, work, errors, environment(options.gpu, job.flags))

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
            for _ in range(options.runs):
                well = list(attempt(well, train, failures))
            return attempt(well, lambda job: workers[job].close(), failures)
        finally:
            for worker in workers.values():
                worker.kill()


def command_without(paths: Iterable[str]) -> str:
    """The command line that runs this script, without paths of this machine."""
    text = command()
    for path in paths:
        text = text.replace(f"={path}", "=PATH")
    return text


def python_of(library: str, given: dict[str, str]) -> str:
    """The Python that has a library: this one, one that was given, or one made here."""
    requirements = LIBRARIES[library].requirements
    if requirements is None or library in given:
        return given.get(library, sys.executable)
    folder = HERE / ".venvs" / library.lower().replace(" ", "-")
    python = folder / "bin" / "python"
    if not python.exists():
        console.print(f"installing {' '.join(requirements)}")
        venv.create(folder, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", *requirements]
        installed = subprocess.run(pip, stderr=subprocess.PIPE, text=True)
        if installed.returncode:
            shutil.rmtree(folder)  # what is half installed would be taken for installed
            raise Failure(f"could not be installed:\n{_last_lines(installed.stderr)}")
    return str(python)


if __name__ == "__main__":
    main(tyro.cli(Options))
