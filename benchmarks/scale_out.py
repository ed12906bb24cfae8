"""How does speed grow with processes, along each axis, and does a run that processes share learn?

Each process has one core and one device, as each has one accelerator elsewhere. The layouts: `one` run in one process;
`apart`, a run in each of two processes that know nothing of each other, which shows what two cores cost each other;
`runs`, the same two runs in one job; `environments`, one run with as many environments in each process as `one` has;
`same batch`, the run of `one`, of which each process has half of the environments.
"""

import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
from typing import Annotated, Any

import jax
import tyro
from rich.console import Console

import rpo_jax
from arguments import chosen
from recording import add
from rpo_jax.execution.fit import Progress
from works import PENDULUM, WORKS, Work, agent_of

LAYOUTS = ("one", "apart", "runs", "environments", "same batch")
CHOSEN = ("pendulum", "hopper")
TIMES = 3


def main(
    works: Annotated[tuple[str, ...], tyro.conf.Positional] = CHOSEN,
    *,
    tiny: Annotated[bool, tyro.conf.arg(help="few updates, to try the script out; writes nothing")] = False,
) -> None:
    """Measures speed and learning, and writes `results/scale_out.json`."""
    console = Console(stderr=True)
    for name in chosen("work", works, {name: WORKS[name] for name in CHOSEN}):
        updates = 4 if tiny else WORKS[name].updates
        for layout in LAYOUTS:
            found = speeds_of(dataclasses.replace(WORKS[name], updates=updates), layout)
            console.print(f"{name}, {layout}: {', '.join(f'{x:,.0f}' for x in found)} steps/s", highlight=False)
            row = {"work": name, "layout": layout, "speed": statistics.median(found), "speeds": found}
            if not tiny:
                add("scale_out", row, "work", "layout")
    for count in (1, 2):
        found = together([{"learns": True, "tiny": tiny}] * count)[0]
        console.print(f"learning, {count} processes: {found}", highlight=False)
        if not tiny:
            row = {"work": "learning", "layout": "one" if count == 1 else "same batch", **found}
            add("scale_out", row, "work", "layout")


def speeds_of(work: Work, layout: str) -> list[float]:
    """Environment steps per second of all processes, measured several times."""
    if layout == "environments":
        work = dataclasses.replace(work, num_envs=2 * work.num_envs)
    if layout == "runs":
        work = dataclasses.replace(work, seeds=2)
    wanted = {"work": dataclasses.asdict(work)}
    if layout == "apart":
        processes = [start(wanted, number, 1, free_port()) for number in (0, 1)]
        return [sum(pair) for pair in zip(*(read(process)["speeds"] for process in processes), strict=True)]
    return together([wanted] * (1 if layout == "one" else 2))[0]["speeds"]


def together(wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the processes of one job found."""
    port = free_port()
    return [read(process) for process in [start(one, n, len(wanted), port) for n, one in enumerate(wanted)]]


def start(wanted: dict[str, Any], number: int, count: int, port: int) -> subprocess.Popen[str]:
    """Starts a process of a job on a core of its own."""
    given = json.dumps(wanted | {"number": number, "count": count, "port": port})
    return subprocess.Popen([sys.executable, __file__, "--member", given], stdout=subprocess.PIPE, text=True)


def read(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a process found."""
    output = process.communicate()[0]
    if process.returncode:
        sys.exit(f"a process ended with {process.returncode}")
    return json.loads(output.splitlines()[-1])


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def member(given: dict[str, Any]) -> None:
    """One process of a job: trains, and prints what it found."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[given["number"] % len(os.sched_getaffinity(0))]})
    rpo_jax.use_cpu_cores(1)
    if given["count"] > 1:
        jax.distributed.initialize(f"localhost:{given['port']}", given["count"], given["number"])
    print(json.dumps(learn(given["tiny"]) if "learns" in given else measure(Work(**given["work"]))), flush=True)


def measure(work: Work) -> dict[str, Any]:
    """The speeds of the second half of several fits, whose segments have reached their length."""
    agent, speeds = agent_of(work), []
    for _ in range(TIMES):
        marks: list[tuple[int, float]] = []

        def mark(progress: Progress, marks: list[tuple[int, float]] = marks) -> None:
            marks.append((progress.updates, progress.seconds))

        rpo_jax.fit(agent, rpo_jax.grid(), rpo_jax.seeds(0, work.seeds), mark)
        (first, began), (last, ended) = marks[len(marks) // 2 - 1], marks[-1]
        speeds.append((last - first) * work.timesteps / work.updates / (ended - began))
    return {"speeds": speeds}


def learn(tiny: bool) -> dict[str, Any]:
    """The return of Pendulum by preset `fast`, one run shared by the processes of the job."""
    config, hyperparams, *_ = rpo_jax.get_preset("fast", PENDULUM)
    config = dataclasses.replace(config, total_timesteps=16_384) if tiny else config
    agent = rpo_jax.make_agent(rpo_jax.make_env(PENDULUM), config=config)
    result = rpo_jax.fit(agent, hyperparams, rpo_jax.seeds(0, 1))
    last = result.metrics["episode_return"][0, 0]
    return {"return": float(last[last == last][-1]) if (last == last).any() else None, "steps": config.total_timesteps}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--member"]:
        member(json.loads(sys.argv[2]))
    else:
        tyro.cli(main)
