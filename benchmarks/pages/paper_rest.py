"""What of the paper's experiments was not run, and what it would take."""

from collections.abc import Mapping

from experiments import EXPERIMENTS, Part, Settings, hours, hours_of, num_runs, parts, standing
from pages.markdown import enumeration, paragraph, section, table
from recording import Row

MAIN = "ppo-vs-rpo"
HEADER = ("command", "parts left", "of", "runs left", "hours")


def render(done: Mapping[str, list[Row]]) -> str:
    """The section.

    Args:
        done: what was recorded, by experiment.
    """
    everything = list(standing())
    labels = {name: {row["label"] for row in rows} for name, rows in done.items()}
    calls = [row["call"] for rows in done.values() for row in rows if "call" in row]
    left = [part for part in everything if part.label not in labels.get(part.experiment, ())]
    full = [part for name in EXPERIMENTS for part in parts(name, full=True)]
    return section(
        "What of the paper was not run?",
        paragraph(
            f"{len(left)} of {len(everything)} parts of the standing list are left, about {hours_of(left, calls):,.0f} "
            "hours of one core that does nothing else; what several experiments want is trained once, and counted with "
            "each of them in the table until it is recorded. `python benchmarks/paper.py --next` does the next part, "
            "and `--list` names them all. MinitaurBulletEnv-v0 has not been carried over to Gymnasium.",
            _missing(everything, left),
            _taken(everything, done, hours_of(left, calls)),
            f"The published scale of all experiments, `python benchmarks/paper.py --full`, would take "
            f"{hours_of(full):,.0f} hours of such a core.",
        ),
        table(HEADER, [_row(name, everything, left, calls) for name in EXPERIMENTS]),
    )


def _missing(everything: list[Part], left: list[Part]) -> str:
    """The tasks of the published comparison that were not begun."""
    of_all, of_left = (
        [part.settings["env"] for part in some if part.experiment == MAIN] for some in (everything, left)
    )
    missing = [env.partition("/")[2] for env in dict.fromkeys(of_all) if of_all.count(env) == of_left.count(env)]
    return f"Cheap tasks come first: nothing of `{MAIN}` was run on {enumeration(missing)}." if missing else ""


def _taken(everything: list[Part], done: Mapping[str, list[Row]], left: float) -> str:
    """How far from its expected time training was so far, and what that means for the hours that are left."""
    expected = {(part.experiment, part.label): hours(part) for part in everything}
    took = {  # by call, which several experiments may have recorded
        str(row.get("call", row["label"])): (row["summary"]["train_seconds"] / 3600, expected[name, row["label"]])
        for name, rows in done.items()
        for row in rows
        if "summary" in row and "program" not in row.get("call", {}) and (name, row["label"]) in expected
    }
    if not took:
        return ""
    spent, wanted = map(sum, zip(*took.values(), strict=True))
    return (
        f"The {len(took)} calls that were trained took {spent:.1f} hours, for which {wanted:.1f} would be expected: "
        "they ran at low priority beside other work, and calls of few runs are slower for each of them. At that rate "
        f"the parts that are left would take {left * spent / wanted:,.0f} hours."
    )


def _row(name: str, everything: list[Part], left: list[Part], calls: list[Settings]) -> list[str]:
    mine = [part for part in left if part.experiment == name]
    return [
        f"`python benchmarks/paper.py {name}`",
        str(len(mine)),
        str(sum(part.experiment == name for part in everything)),
        str(sum(map(num_runs, mine))),
        f"{hours_of(mine, calls):.1f}",
    ]
