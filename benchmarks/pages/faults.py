"""What survives."""

from pages.markdown import bullets, paragraph, section, table
from recording import Row

HEADER = ("fault", "injected", "survived", "of them by an error that says so", "updates lost: most", "mean")

MEANINGS = (
    "Terminal closed: half of the time the shell sends SIGHUP too. Reader of the output ends: the run goes on.",
    "Folder moved away or removed: the results are written anew, and that is told. Of two processes that train into "
    "one folder, or of which one resumes what the other trains, one is refused, and the other does not notice.",
    "Link to elsewhere: what it points to is not changed. Wrong content with a right digest: the command works, or "
    "refuses it in one line.",
    "NaN or infinity from a simulator: each costs one episode and is counted. Learning rate of 1e6: the other runs of "
    "the sweep are bit for bit what they are with a usual one in its place (a sweep of another size differs by "
    "rounding).",
    "Simulators on the host: what was done before is kept bit for bit, and training continues from there, in new "
    "episodes. One that hangs is interrupted, named after five seconds, and left behind at the second interrupt.",
)


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
            f"{survived} of {injected} faults of {len(runs)} kinds, most at random moments, were survived, in runs of "
            "300 updates (60 for simulators on the host that hang, crash or fail to close) with checkpoints every half "
            "second (by default every minute).",
            "Survived means that the run, resumed if it was stopped, equals an undisturbed one bit for bit; a folder "
            "that was damaged, linked or changed may be refused instead, by an error that says so. Beyond that:",
        ),
        bullets(MEANINGS),
        paragraph("Updates lost are those between the checkpoint from which training continued and the stop."),
        table(HEADER, rows),
    )
