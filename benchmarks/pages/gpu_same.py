"""Whether a seed gives the same run on a GPU."""

from pages.markdown import paragraph, section, table
from recording import Row


def render(runs: list[Row]) -> str:
    """The section."""
    rows = [
        [run["work"], f"`{run['flags'] or 'none'}`", _apart(run["twice"]), _apart(run["among_others"]), _time(run)]
        for run in runs
    ]
    return section(
        "Does a seed give the same run on a GPU?",
        paragraph(
            "One seed is trained twice, and once beside a second seed in the same call. The table shows by how much "
            "its policy loss and entropy differ at most, as |x - y| / (1 + |y|), and the seconds of training it alone.",
        ),
        table(["work", "options", "trained twice", "beside another seed", "training"], rows),
    )


def _apart(difference: float) -> str:
    return f"{difference:.1g}" if difference else "same bits"


def _time(run: Row) -> str:
    return f"{run['seconds']:.2f} s"
