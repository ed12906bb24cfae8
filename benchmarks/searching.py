"""What does a search find, and what does it cost? On Pendulum from ranges in which most settings fail, or elsewhere.

Each work takes minutes on two cores; with `--folder` a search is kept, and goes on where it was stopped.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro
from rich.console import Console

from recording import Row, add, command, machine
from rpo_jax import loguniform, uniform, use_cpu_cores
from rpo_jax.runs.folder import is_search
from rpo_jax.runs.session import Session
from rpo_jax.search import answer
from rpo_jax.search.halving import Found, resume_search, search_to_folder
from rpo_jax.search.plan import Plan, draw_specs, preset_spec
from rpo_jax.settings.space import DEFAULT_RANGES, Distribution


class Work(NamedTuple):
    """What is searched.

    Attributes:
        plan: how.
        space: ranges by name.
        options: arguments of `make_spec`.
    """

    plan: Plan
    space: dict[str, Distribution]
    options: dict[str, Any]


BAD: dict[str, Distribution] = {  # far wider than anybody would look: most settings learn nothing
    "learning_rate": loguniform(1e-6, 1.0),
    "gamma": uniform(0.5, 1.0),
    "gae_lambda": uniform(0.0, 1.0),
    "clip_epsilon": loguniform(1e-2, 1.0),
    "entropy_coefficient": loguniform(1e-6, 1.0),
    "rpo_alpha": uniform(0.0, 3.0),
}
USUAL = {name: DEFAULT_RANGES[name] for name in ("learning_rate", "gamma", "gae_lambda", "entropy_coefficient")}
SMALL = {"num_envs": 64, "num_steps": 32, "num_minibatches": 4, "total_timesteps": 500_000}
WORKS = {
    "pendulum": Work(Plan(128, 3), BAD, {"env": "gymnax/Pendulum-v1", **SMALL}),
    "pendulum-tpe": Work(Plan(128, 3, batches=4), BAD, {"env": "gymnax/Pendulum-v1", **SMALL}),
    "hopper": Work(
        Plan(32, 2, final_seeds=5),
        USUAL | {"rpo_alpha": uniform(0.0, 0.5)},
        {"env": "brax/hopper", "num_envs": 256, "num_minibatches": 8, "total_timesteps": 2_200_000},
    ),
}


def main(work: Literal["pendulum", "pendulum-tpe", "hopper"] = "pendulum", folder: Path | None = None) -> None:
    """Searches, and adds what it found and cost to `results/searching.json`.

    Args:
        work: what is searched.
        folder: folder of the search; one that is removed afterwards if not given.
    """
    use_cpu_cores()
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        found = search(WORKS[work], folder or Path(scratch) / "search")
        took = time.perf_counter() - began
        if found is None:
            sys.exit("interrupted; the same command with --folder goes on")
        row = record(found) | {
            "work": work,
            "seconds": took,
            "process_seconds": time_of_a_process(WORKS[work], scratch),
        }
    add("searching", {"command": command(hidden=[f"--folder={folder}"]), "machine": machine()} | row, "work")
    answer.draw_search(found).savefig(Path(__file__).parent / "results" / f"searching-{work}.png", dpi=100)


def search(work: Work, folder: Path) -> Found | None:
    """Searches in a folder, or goes on with the search that it holds."""
    session = Session(Console())
    if is_search(folder):
        return resume_search(folder, session)
    default = preset_spec(work.plan, **work.options)
    parts = draw_specs(work.plan, default, work.space, {}, **work.options)
    return search_to_folder(work.plan, parts, default, work.space, folder, session)


def record(found: Found) -> Row:
    """What a search found, as a row of results."""
    print("\n".join(answer.sentences(found)))
    return {
        "env": found.parts[0].env,
        "preset": found.parts[0].preset,
        "total_timesteps": found.parts[0].config.total_timesteps,
        "plan": found.plan._asdict(),
        "stages": [len(scores) for scores in found.returns],
        "finalists": [answer.label_of(found, one) for one in found.final],
        "when_chosen": [found.returns[-1][one] for one in found.final],
        "final": [returns.tolist() for returns in found.final.values()],
        "default": found.default.tolist(),
        "diverged": sum(map(bool, found.diverged.values())),
        "sentences": answer.sentences(found),
    }


def time_of_a_process(work: Work, scratch: str) -> float:
    """Seconds of a process that trains one setting with the seeds of the search, to the end."""
    options = {name: value for name, value in work.options.items() if name != "env"}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    run = [sys.executable, "-m", "rpo_jax", "train", work.options["env"], *words]
    run += ["--num-seeds", str(work.plan.num_seeds)]
    began = time.perf_counter()
    subprocess.run([*run, "--out", f"{scratch}/one", "--no-compilation-cache"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    tyro.cli(main)
