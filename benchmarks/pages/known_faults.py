"""Reports of faults of JAX, tried here."""

import re
import tomllib
from pathlib import Path

from pages.findings import claim
from pages.markdown import enumeration, paragraph, section, table
from recording import Row
from reported_faults import FAULTS

PYPROJECT = Path(__file__).parent.parent.parent / "pyproject.toml"


def render(runs: list[Row]) -> str:
    """The section."""
    releases = sorted({run["jax"] for run in runs})
    outcomes = {(run["fault"], run["jax"]): run["outcome"] for run in runs}
    of_gpus = [run for run in runs if FAULTS[run["fault"]].where == "GPU"]
    header = ["report", "where", "what goes wrong", *releases, "what is done"]
    return section(
        "Which known faults of JAX does this machine meet?",
        paragraph(
            "Minimal programs for faults of JAX and XLA that were reported, run on this CPU with jax "
            f"{enumeration(releases)}.",
            claim(
                "Those of GPUs are all right here, which says nothing about a GPU.",
                all(run["outcome"] == "right" for run in of_gpus),
            ),
            f"`pyproject.toml` excludes {enumeration(excluded_releases())}.",
        ),
        table(header, [_row(name, releases, outcomes) for name in FAULTS]),
    )


def excluded_releases() -> list[str]:
    """The versions of jaxlib that `pyproject.toml` excludes."""
    dependencies = tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"]
    return [
        release for item in dependencies if item.startswith("jaxlib") for release in re.findall(r"!=([\d.]+)", item)
    ]


def _row(name: str, releases: list[str], outcomes: dict[tuple[str, str], str]) -> list[str]:
    fault, excluded = FAULTS[name], excluded_releases()
    found = {release: outcomes.get((name, release), "") for release in releases}
    met = {release for release, outcome in found.items() if outcome not in ("", "right")}
    done = claim(fault.done, "excluded" not in fault.done or met <= set(excluded))
    return [name, fault.where, fault.what, *found.values(), done]
