"""Time of a sweep against one run."""

from pages.markdown import in_seconds, paragraph, section, table
from recording import Row


def render(runs: list[Row]) -> str:
    """The section."""
    one = {run["runs"]: run["summary"]["train_seconds"] for run in runs}[1]
    rows = [
        [
            run["label"],
            str(run["runs"]),
            in_seconds(run["summary"]["compile_seconds"]),
            in_seconds(run["summary"]["train_seconds"]),
            f"{run['summary']['train_seconds'] / one:.1f}",
            f"{run['summary']['env_steps_per_second']:,.0f}",
        ]
        for run in runs
    ]
    return section(
        "What does a sweep cost?",
        paragraph("Pendulum-v1, preset `fast`; each row is one compiled call."),
        table(["call", "runs", "compilation", "training", "times one run", "steps/s over all runs"], rows),
    )
