"""What survives."""

from pages.markdown import bullets, paragraph, section, table
from recording import Row

HEADER = ("fault", "injected", "survived", "of them by an error that says so", "updates lost: most", "mean")

NEW_EPISODES = "what was done before is kept bit for bit, and training continues from there, in new episodes"
MEANINGS = {  # of what a run survives, beyond that it equals an undisturbed one
    "terminal closed": "half of the time the shell sends SIGHUP too",
    "reader of the output ends": "the run goes on to its end",
    "folder moved away or removed": "the results are written anew, and that is told",
    "two processes train into one folder": "one is refused, and the other does not notice",
    "resumed while it trains": "`resume` is refused, and the run does not notice",
    "link to elsewhere": "what it points to is not changed",
    "wrong content with a right digest": "a command works, or refuses it in one line",
    "NaN or infinity from a simulator": "each costs one episode and is counted",
    "learning rate of 1e6": "the other runs of the sweep are bit for bit what they are with a usual one in its place "
    "(a sweep of another size differs by rounding)",
    "environment on the host throws": NEW_EPISODES,
    "simulator hangs": f"it is named after five seconds, and left behind at the second interrupt; {NEW_EPISODES}",
    "simulator crashes the process": NEW_EPISODES,
}


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
            "300 updates (60 for simulators on the host) with checkpoints every half second (by default every minute).",
            "Survived means that the run, resumed if it was stopped, equals an undisturbed one bit for bit; a folder "
            "that was damaged, linked or changed may be refused instead, by an error that says so. Beyond that:",
        ),
        bullets(f"{run['fault']}: {MEANINGS[run['fault']]}." for run in runs if run["fault"] in MEANINGS),
        paragraph("Updates lost are those between the checkpoint from which training continued and the stop."),
        table(HEADER, rows),
    )
