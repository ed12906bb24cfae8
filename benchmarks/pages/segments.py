"""What the host's loop costs."""

from pages.markdown import in_seconds, section, table
from recording import Row


def render(runs: list[Row]) -> str:
    """The section."""
    rows = [
        [
            f"{run['env']}, {run['seeds']} seeds x {run['timesteps']:,}",
            in_seconds(run["sweep"]),
            in_seconds(run["fit"]),
            in_seconds(run["checkpoints"]),
            f"{(run['fit'] + run['checkpoints']) / run['sweep'] - 1:+.1%}",
        ]
        for run in runs
    ]
    return section(
        "What do segments, progress and checkpoints cost?",
        table(["work", "`sweep`", "`fit`: training, with progress", "checkpoints", "more in all"], rows),
    )
