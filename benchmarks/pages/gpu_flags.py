"""What XLA's options for command buffers change."""

from pages.findings import claim
from pages.markdown import paragraph, section, table
from recording import Row

OFF = "--xla_gpu_enable_command_buffer="


def render(runs: list[Row]) -> str:
    """The section."""
    rows = [[run["work"], f"`{run['flags'] or 'none'}`", f"{run['steps_per_second']:,.0f}"] for run in runs]
    return section(
        "Which of XLA's options make a GPU faster?",
        paragraph(
            "XLA records kernels in command buffers, which the host launches as a whole; without them it launches the "
            "kernels of a loop one by one. Processes took turns.",
            *(sentence for work in dict.fromkeys(run["work"] for run in runs) for sentence in _effects(runs, work)),
        ),
        table(["work", "options", "steps/s"], rows),
    )


def _effects(runs: list[Row], work: str) -> list[str]:
    """What the options do to one work."""
    found = {run["flags"]: run for run in runs if run["work"] == work}
    usual = found[""]
    speeds = {flags: run["steps_per_second"] / usual["steps_per_second"] for flags, run in found.items()}
    off, others = speeds.pop(OFF, None), [speed - 1 for flags, speed in speeds.items() if flags]
    varies = max(usual["seconds"]) / min(usual["seconds"]) - 1
    return [
        ""
        if off is None
        else claim(f"Without command buffers {work} trains at {off:.0%} of the usual speed.", off < 1),
        ""
        if not others
        else claim(
            f"Other options change it by {min(others):+.1%} to {max(others):+.1%}, which is less than calls without "
            f"options differ among themselves ({varies:.0%}).",
            max(map(abs, others)) < varies,
        ),
    ]
