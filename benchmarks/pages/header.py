"""The beginning of the page."""

from pages.known_faults import excluded_releases
from pages.markdown import enumeration, paragraph


def render(machines: list[str]) -> str:
    """The beginning of the page.

    Args:
        machines: what the sections were measured on.
    """
    old = [release for release in excluded_releases() if any(f"jax {release}" in machine for machine in machines)]
    text = paragraph(
        "Each script asks one question and leaves its answer in `results/`; an interrupted study continues with the "
        "same command. This page is written by `python benchmarks/report.py`, which computes what it says from those "
        "results, and fails where they contradict a sentence.",
        "Returns are means over the last 5% of updates, of episodes played with the sampled action during training, "
        "unless said otherwise. The studies of learning shared the machine with each other and with other work, so "
        'their times are upper bounds; "How long does a new user wait?" and "What does a sweep cost?" ran alone.',
        f"Sections that name jax {enumeration(old)} were measured with a version that `pyproject.toml` excludes now."
        if old
        else "",
    )
    return f"# Benchmarks\n\n{text}"
