"""Whether a simulator is faster with the batch last, and whether it computes the same."""

from pages.markdown import in_seconds, paragraph, section, table
from recording import Row

WAYS = ("last", "first")


def render(runs: list[Row], where: str = "") -> str:
    """The section; `where` ends its title."""
    rows = []
    for run in (run for run in runs if run["part"] == "speed"):
        last, first = (run["microseconds"][way] for way in WAYS)
        quartiles = [" ... ".join(f"{x:,.0f}" for x in run["quartiles"][way]) for way in WAYS]
        compiling = [in_seconds(run["compile_seconds"][way]) for way in WAYS]
        times = [f"{last:,.0f}", quartiles[0], f"{first:,.0f}", quartiles[1], f"{first / last:.2f}"]
        rows.append([run["env"], f"{run['num_envs']:,}", *times, *compiling])
    header = [
        "environment",
        "environments",
        "last, us a step of all",
        "quartiles",
        "first (`jax.vmap`)",
        "quartiles",
        "first / last",
        "compilation: last",
        "first",
    ]
    values = [[run["env"], f"{run['step']:.1e}", f"{run['nudged']:.1e}"] for run in runs if run["part"] == "values"]
    return section(
        f"Is a simulator faster with the batch last{where}?",
        paragraph(
            '`vectorize(batching="last")` keeps the environments on the last axis of every array, "first" is '
            "`jax.vmap`. Random actions on one device; medians and quartiles of five measurements that took turns.",
            ""
            if where
            else "They count the processor's time, for the machine was busy. Compilation, which is wall "
            "time, suffered from that.",
        ),
        table(header, rows),
        *(_told_of_values(values) if values else ()),
    )


def _told_of_values(rows: list[list[str]]) -> tuple[str, str]:
    text = paragraph(
        "Whether they compute the same: one step of 3 environments from the same reset, compiled without optimisation. "
        "The greatest |x - y| / (1 + |y|) of all of state, observations and rewards; beside it, what a change of the "
        "state by a millionth makes. The same command goes on with environments that are not in the table yet.",
    )
    return text, table(["environment", "last from first", "nudged"], rows)
