"""What of the paper's experiments was not run, and what it would take."""

from collections.abc import Mapping, Set

from experiments import EXPERIMENTS, Part, hours_of, num_runs, parts, standing
from pages.markdown import paragraph, section, table

HEADER = ("command", "parts left", "of", "runs left", "hours")


def render(done: Mapping[str, Set[str]]) -> str:
    """The section.

    Args:
        done: labels of the parts that were recorded, by experiment.
    """
    everything = list(standing())
    left = [part for part in everything if part.label not in done.get(part.experiment, ())]
    full = [part for name in EXPERIMENTS for part in parts(name, full=True)]
    return section(
        "What of the paper was not run?",
        paragraph(
            f"{len(left)} of {len(everything)} parts of the standing list are left, about {hours_of(left):,.0f} hours "
            "of one core that does nothing else; what several experiments share is trained once, and counted with "
            "each of them in the table. `python benchmarks/paper.py --next` does the next part, and `--list` names "
            "them all.",
            f"The published scale of all experiments, `python benchmarks/paper.py --full`, would take "
            f"{hours_of(full):,.0f} hours of such a core.",
        ),
        table(HEADER, [_row(name, everything, left) for name in EXPERIMENTS]),
    )


def _row(name: str, everything: list[Part], left: list[Part]) -> list[str]:
    mine = [part for part in left if part.experiment == name]
    return [
        f"`python benchmarks/paper.py {name}`",
        str(len(mine)),
        str(sum(part.experiment == name for part in everything)),
        str(sum(map(num_runs, mine))),
        f"{hours_of(mine):.1f}",
    ]
