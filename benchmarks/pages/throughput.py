"""Speed of whole training beside other libraries."""

import dataclasses
import math

from libraries import LIBRARIES
from pages.findings import claim
from pages.markdown import alternatives, bullets, in_seconds, paragraph, section, table
from recording import Row
from works import Work

HEADER = (
    "work",
    "seeds x envs x steps, epochs, minibatches",
    "library",
    "steps a call",
    "steps/s",
    "rpo_jax is faster by",
    "first call",
    "of which start-up and compilation",
    "peak memory",
)


def render(runs: list[Row], where: str = "") -> str:
    """The section.

    Args:
        runs: the results.
        where: ends the title.
    """
    calls = alternatives(str(len(result["seconds"])) for result in _results(runs))
    at_once = any("gpu.py" in run["command"] for run in runs)
    return section(
        f"How fast beside other libraries{where}?",
        paragraph(
            "Whole training, 64-64 tanh networks where no others are named, observation and reward normalisation; the "
            f"median of {calls} calls, with the libraries taking turns.",
            "The first call is timed from the start of the process, imports included, to the end of its first "
            "training; subtracting a median call leaves start-up and compilation.",
            _shuffles(runs),
            "Brax works run on backend `spring`.",
            "Processes compiled side by side, which lengthens first calls." if at_once else "",
            "Memory is the GPU's." if all("peak_device_bytes" in result for result in _results(runs)) else "",
            "The libraries, and where their work differs:",
        ),
        bullets(f"{note}." for note in _notes(runs).values()),
        table(HEADER, [_row(run, library) for run in runs for library in run["libraries"]]),
        _sources(runs),
    )


def _results(runs: list[Row]) -> list[Row]:
    return [result for run in runs for result in run["libraries"].values()]


def _shuffles(runs: list[Row]) -> str:
    """How rpo_jax cuts minibatches."""
    samples = [run["work"] for run in runs if run["shuffle"] == "samples"]
    if not samples:
        return "rpo_jax shuffles whole environments."
    return f"rpo_jax shuffles whole environments, except in {', '.join(samples)}, where it shuffles samples."


def _notes(runs: list[Row]) -> dict[str, str]:
    """Versions of each library, and how its work differs."""
    notes = {}
    for run in runs:
        for library, result in run["libraries"].items():
            versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
            notes[library] = f"{library} ({versions}) {claim(LIBRARIES[library].differs, _did_its_part(run, library))}"
    return {library: note.rstrip() for library, note in notes.items()}


def _did_its_part(run: Row, library: str) -> bool:
    """Whether a library trained on as many steps as it says."""
    work = Work(**{field.name: run[field.name] for field in dataclasses.fields(Work) if field.name in run})
    return run["libraries"][library]["timesteps"] == LIBRARIES[library].part(work).timesteps


def _row(run: Row, library: str) -> list[str]:
    result = run["libraries"][library]
    ours = run["libraries"].get("rpo_jax", {}).get("steps_per_second", math.nan)
    sizes = f"{run['seeds']} x {run['num_envs']} x {run['num_steps']}, {run['num_epochs']}, {run['num_minibatches']}"
    if (width := run.get("width", 64)) != 64:
        sizes += f"; networks {width}-{width}"
    return [
        run["work"],
        sizes,
        library,
        f"{result['timesteps']:,}",
        f"{result['steps_per_second']:,.0f}",
        f"{ours / result['steps_per_second']:.2f}",
        in_seconds(result["first_call_seconds"]),
        in_seconds(result["compile_seconds"]),
        f"{result.get('peak_device_bytes', result['peak_bytes']) / 2**30:.1f} GiB",
    ]


def _sources(runs: list[Row]) -> str:
    """Which work was measured by what command where, if not all on one machine."""
    if len({run["machine"] for run in runs}) == 1:
        return ""
    return bullets(f"{run['work']}: `{run['command']}`, on {run['machine']}" for run in runs)
