"""Writes README.md of this folder, its pictures, and parts of the README, from what scripts left in results/."""

import itertools
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import tyro
from matplotlib.figure import Figure

from pages import (
    batching,
    brax_fast,
    check,
    compiled,
    correctness,
    envpool_speed,
    expected,
    faults,
    features,
    first_run,
    gpu_flags,
    gpu_kernels,
    gpu_learning,
    gpu_same,
    header,
    known_faults,
    normalization,
    paper,
    paper_alpha,
    paper_answer,
    paper_density,
    paper_failures,
    paper_law,
    paper_noise_floor,
    paper_ppo_vs_rpo,
    paper_protocol,
    paper_rest,
    paper_time_limits,
    pendulum_paper,
    pendulum_seed_notes,
    playground_gpu,
    pods,
    readme,
    roofline,
    roofline_widths,
    scale_out,
    scaling,
    searching,
    segments,
    shuffle,
    suites_paper,
    suites_transfer,
    sweep_speed,
    throughput,
)
from pages.findings import Falsified
from recording import RESULTS, Row


class Section(NamedTuple):
    """A section of the page.

    Attributes:
        name: of its results.
        render: writes it.
        draw: its picture, which is named after its results.
        following: writes a section that stands after it, of what the paper's experiments have recorded; "" if nothing.
    """

    name: str
    render: Callable[[list[Row]], str]
    draw: Callable[[list[Row]], Figure] | None = None
    following: Callable[[dict[str, list[Row]]], str] = lambda done: ""


PAPER = "paper-"  # begins the names of results of the paper's experiments
ON_GPU = " on a GPU"
_COMPARED = {page.experiment: Section(PAPER + page.experiment, page.render, page.draw) for page in paper.COMPARISONS}
SECTIONS = (
    Section("pendulum_paper", pendulum_paper.render, pendulum_paper.draw),
    Section("pendulum_seed_notes", pendulum_seed_notes.render),
    Section("first_run", first_run.render),
    Section("brax_fast", brax_fast.render, brax_fast.draw),
    Section("sweep_speed", sweep_speed.render),
    Section("searching", searching.render),
    Section("throughput", throughput.render),
    Section("throughput_gpu", partial(throughput.render, where=ON_GPU)),
    Section("compiled", compiled.render),
    Section("pods", pods.render),
    Section("scale_out", scale_out.render),
    Section("gpu_flags", gpu_flags.render),
    Section("gpu_kernels", gpu_kernels.render),
    Section("gpu_same", gpu_same.render),
    Section("gpu_learning", gpu_learning.render),
    Section("scaling", scaling.render, scaling.draw),
    Section("scaling_gpu", partial(scaling.render, name="scaling_gpu", where=ON_GPU), scaling.draw),
    Section("roofline", roofline.render),
    Section("roofline_widths", roofline_widths.render, roofline_widths.draw),
    Section("roofline_gpu", partial(roofline.render, where=ON_GPU)),
    Section("batching", batching.render),
    Section("batching_gpu", partial(batching.render, where=ON_GPU)),
    Section("shuffle", shuffle.render),
    Section("normalization", normalization.render),
    Section("suites_paper", suites_paper.render, suites_paper.draw),
    Section("suites_transfer", suites_transfer.render),
    Section("paper-density", paper_density.render, paper_density.draw),
    Section("paper-ppo-vs-rpo", paper_ppo_vs_rpo.render, paper_ppo_vs_rpo.draw),
    _COMPARED["at-scale"],
    Section("paper-protocol", paper_protocol.render, paper_protocol.PAGE.draw),
    Section("paper-time-limits", paper_time_limits.render, paper_time_limits.PAGE.draw),
    *(_COMPARED[name] for name in ("entropy", "distributions", "augmentation")),
    Section("paper-alpha", paper_alpha.render, paper_alpha.draw),
    Section("paper-noise-floor", paper_noise_floor.render, paper_noise_floor.draw, paper_law.render),
    Section("paper-failures", paper_failures.render, paper_failures.PAGE.draw),
    Section("envpool_speed", envpool_speed.render),
    Section("playground_gpu", playground_gpu.render, playground_gpu.draw),
    Section("segments", segments.render),
    Section("faults", faults.render),
    Section("check", check.render),
    Section("correctness", correctness.render),
    Section("known_faults", known_faults.render),
)
OF_VERSIONS = ("check", "known_faults")  # sections about versions of JAX, broken ones among them


README = RESULTS.parent.parent / "README.md"
PAGES: dict[Path, Callable[[], str]] = {
    RESULTS.parent / "README.md": lambda: page(RESULTS),
    RESULTS.parent / "peers" / "README.md": features.render_page,
    README: lambda: readme.render(README.read_text(), _all_runs(RESULTS)),
}


def main() -> None:
    """Writes the pages and their pictures; fails if the results contradict a sentence of them."""
    try:
        written = {path: write() for path, write in PAGES.items()}
    except Falsified as falsified:
        sys.exit(str(falsified))
    for path, text in written.items():
        path.write_text(text)
    for section in SECTIONS:
        content = _content(RESULTS, section)
        if section.draw and content:
            section.draw(content["runs"]).savefig(RESULTS / f"{section.name}.png", dpi=100)


def page(results: Path) -> str:
    """The page.

    Args:
        results: the folder of results; a section without results is left out.

    Raises:
        Falsified: if the results contradict a sentence; it names the section and the sentence.
    """
    contents = {section: content for section in SECTIONS if (content := _content(results, section))}
    machines = [content["machine"] for section, content in contents.items() if section.name not in OF_VERSIONS]
    done = {
        section.name.removeprefix(PAPER): content["runs"]
        for section, content in contents.items()
        if section.name.startswith(PAPER)
    }
    runs = [run for content in contents.values() for run in content["runs"]]
    blocks = [
        header.render(machines),
        _checked("is PPO really this bad", partial(paper_answer.render, done)),
        *itertools.chain.from_iterable(
            (_written(section, content), _checked(f"after {section.name}", partial(section.following, done)))
            for section, content in contents.items()
        ),
        expected.render(runs) if expected.collect(runs) else "",
        paper_rest.render(done) if done else "",
    ]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _all_runs(results: Path) -> dict[str, list[Row]]:
    return {path.stem: json.loads(path.read_text())["runs"] for path in sorted(results.glob("*.json"))}


def _content(results: Path, section: Section) -> Row | None:
    path = results / f"{section.name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _written(section: Section, content: Row) -> str:
    text = _checked(section.name, partial(section.render, content["runs"]))
    return f"{text}\n\n{_origin(section, content)}"


def _checked(name: str, render: Callable[[], str]) -> str:
    """What `render` returns; an error of it names the section."""
    try:
        return render()
    except Falsified as falsified:
        raise Falsified(
            f"section {name}: the results contradict {str(falsified)!r}; change the sentence in "
            "benchmarks/pages/ to what they say now"
        ) from None
    except KeyError as missing:
        raise Falsified(f"section {name}: a sentence speaks of {missing}, which the results lack") from missing


def _origin(section: Section, content: Row) -> str:
    """What was run, how long it took, and on what machine; sections of the paper begin with their command."""
    if not section.name.startswith(PAPER):
        return f"`{content['command']}`, on {content['machine']}."
    took = {
        str(run.get("call", run["label"])): run["summary"]["train_seconds"]
        for run in content["runs"]
        if "summary" in run
    }
    hours = f"{len(took)} calls that took {sum(took.values()) / 3600:.1f} hours; on " if took else "On "
    return f"{hours}{content['machine']}."


if __name__ == "__main__":
    tyro.cli(main)
