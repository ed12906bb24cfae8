"""How fast is whole training beside other libraries, in one run on one machine?

Each library trains the same work in a process and a virtual environment of its own, which this script makes. The first
call counts as compilation; then the libraries take turns, and the median of their calls counts as speed. Nobody logs or
evaluates.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from study import RESULTS, save

HERE = Path(__file__).parent


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
    for env, steps, updates in ((PENDULUM, 32, 100), ("brax/hopper", 16, 50), ("brax/ant", 16, 50))
    for seeds in (1, 16, 256)
}


@dataclasses.dataclass(frozen=True)
class Library:
    """One library: its worker, and what it needs installed; None is the environment of this script."""

    worker: str
    requirements: tuple[str, ...] | None
    suites: tuple[str, ...] = ("gymnax", "brax")
    most_seeds: int | None = None
    differs: str = ""


LIBRARIES = {
    "rpo_jax": Library("ours.py", None),
    "Rejax": Library(
        "rejax_ppo.py",
        ("rejax==0.1.3", "gymnax==0.0.9", "brax==0.14.2"),
        differs="shuffles single samples; updates its moments at every step; clips each element of the gradient",
    ),
}


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

    def __init__(self, library: Library, python: str, work: Work, gpu: bool):
        environment = None if gpu else {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"}
        self._process = subprocess.Popen(
            [python, str(HERE / "peers" / library.worker), json.dumps(dataclasses.asdict(work))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.first = self._read()["first_call_seconds"]

    def train(self) -> float:
        """Seconds of one call."""
        assert self._process.stdin
        print("go", file=self._process.stdin, flush=True)
        return self._read()["seconds"]

    def close(self) -> dict[str, int]:
        """Ends it; its peak memory."""
        assert self._process.stdin
        self._process.stdin.close()
        memory = self._read()
        self._process.wait()
        return memory

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        assert self._process.stderr
        for line in self._process.stdout:
            if line.startswith("{"):  # Brax prints warnings too
                return json.loads(line)
        sys.exit(f"a worker failed:\n{self._process.stderr.read()}")


def main(options: Options) -> None:
    """Measures, and writes `results/throughput.json` (with --gpu: `throughput_gpu.json`)."""
    works = GPU_WORKS if options.gpu else WORKS
    path = RESULTS / f"throughput{'_gpu' if options.gpu else ''}.json"
    pythons = {name: python_of(name, dict(item.split("=") for item in options.python)) for name in options.libraries}
    known = json.loads(path.read_text())["runs"] if path.exists() and not options.updates else []
    runs = {run["work"]: run for run in known}
    for name in options.works or works:
        work = works[name] if options.updates is None else dataclasses.replace(works[name], updates=options.updates)
        runs[name] = {"work": name, **dataclasses.asdict(work), "libraries": measure(name, work, pythons, options)}
        if options.updates is None:
            save(path.stem, list(runs.values()))


def measure(name: str, work: Work, pythons: dict[str, str], options: Options) -> dict[str, dict[str, Any]]:
    """The same work by every library, in turns."""
    console = Console(stderr=True)
    workers, seconds = {}, {}
    for library, python in pythons.items():
        console.print(f"{name}: {library} compiles", highlight=False)
        workers[library] = Worker(LIBRARIES[library], python, work, options.gpu)
        seconds[library] = []
    for turn in range(options.runs):
        for library, worker in workers.items():
            seconds[library].append(worker.train())
            console.print(f"{name}: {library} {turn + 1}: {work.timesteps / seconds[library][-1]:,.0f} steps/s")
    return {
        library: {
            "first_call_seconds": round(worker.first, 2),
            "seconds": [round(x, 4) for x in seconds[library]],
            "steps_per_second": round(work.timesteps / statistics.median(seconds[library])),
            "differs": LIBRARIES[library].differs,
            **worker.close(),
        }
        for library, worker in workers.items()
    }


def python_of(library: str, given: dict[str, str]) -> str:
    """The Python that has a library: this one, one that was given, or one made here."""
    requirements = LIBRARIES[library].requirements
    if requirements is None or library in given:
        return given.get(library, sys.executable)
    folder = HERE / ".venvs" / library.lower()
    python = folder / "bin" / "python"
    if not python.exists():
        Console(stderr=True).print(f"installing {' '.join(requirements)}", highlight=False)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    return str(python)


if __name__ == "__main__":
    main(tyro.cli(Options))
