"""What training launches."""

from pages.findings import claim
from pages.markdown import paragraph, section, table
from recording import Row


def render(runs: list[Row]) -> str:
    """The section."""
    busy = [run["busy_seconds"] / run["seconds"] for run in runs]
    rows = [
        [
            run["work"],
            f"{run['launches'] / run['rounds']:,.0f}",
            f"{1e3 * run['busy_seconds'] / run['rounds']:.1f} ms",
            f"{1e3 * run['seconds'] / run['rounds']:.1f} ms",
        ]
        for run in runs
    ]
    return section(
        "What does a round of training launch on a GPU?",
        paragraph(
            "By JAX's profiler, under which XLA records no command buffers: these are not the times of usual training.",
            claim(f"The GPU was busy for {min(busy):.0%} to {max(busy):.0%} of the time.", max(busy) <= 1),
            "`results/gpu_kernels.json` names the longest kernels.",
        ),
        table(["work", "kernels a round", "GPU busy", "whole round"], rows),
    )
