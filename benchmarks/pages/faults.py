"""What survives."""

from pages.markdown import paragraph, section, table
from recording import Row

HEADER = ("fault", "injected", "survived", "of them by an error that says so", "updates lost: most", "mean")


def render(runs: list[Row]) -> str:
    """The section."""
    injected, survived = (sum(run[name] for run in runs) for name in ("injected", "survived"))
    rows = [
        [
            run["fault"],
            str(run["injected"]),
            str(run["survived"]),
            str(run["refused"]),
            str(run["most_lost"]),
            f"{run['mean_lost']:.1f}",
        ]
        for run in runs
    ]
    return section(
        "What survives?",
        paragraph(
            f"{survived} of {injected} faults at random moments were survived, in runs of 300 updates with checkpoints "
            "every half second (by default every minute).",
            "Survived means that the resumed run equals an undisturbed one bit for bit; a damaged file may be refused "
            "instead, by an error that says so. For NaN from a simulator it means that each costs one episode and is "
            "counted; for a learning rate of 1e6, that the other runs of the sweep are bit for bit what they are with "
            "a usual one in its place (a sweep of another size differs by rounding); for an environment on the host, "
            "that what was done before is kept, and training continues from there. Updates lost are those between the "
            "checkpoint from which training continued and the stop.",
        ),
        table(HEADER, rows),
    )
