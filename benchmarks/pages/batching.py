"""Whether a simulator is faster with the batch last, and whether it computes the same."""

from pages.markdown import in_seconds, paragraph, section, table
from recording import Row

NAMES = {"last": "last", "first": "first (`jax.vmap`)", "components": "components"}


def render(runs: list[Row], where: str = "") -> str:
    """The section; `where` ends its title."""
    timed = [run for run in runs if run["part"] == "speed"]
    ways = [way for way in NAMES if way in timed[0]["microseconds"]]
    header = ["environment", "environments", *(f"{NAMES[way]}, us" for way in ways)]
    header += [f"first / {way}" for way in ways if way != "first"] + [f"compilation, {way}" for way in ways]
    rows = [[run["env"], f"{run['num_envs']:,}", *_times(run, ways)] for run in timed]
    values = [[run["env"], f"{run['step']:.1e}", f"{run['nudged']:.1e}"] for run in runs if run["part"] == "values"]
    return section(
        f"Which way of batching is faster{where}?" if where else "Is a simulator faster with the batch last?",
        paragraph(
            '`vectorize(batching="last")` keeps the environments on the last axis of every array, "first" is '
            "`jax.vmap`"
            + ('; "components" takes every array apart.' if where else ".")
            + " Microseconds of a step of all environments with random actions on one device: the median, and the "
            "quartiles, of measurements that took turns.",
            ""
            if where
            else "They count the processor's time, for the machine was busy. Compilation, which is wall "
            "time, suffered from that.",
        ),
        table(header, rows),
        *(_told_of_values(values) if values else ()),
    )


def _times(run: Row, ways: list[str]) -> list[str]:
    """Cells of a row: each way's time, how it compares with `jax.vmap`, and what compiling it took."""
    medians, quartiles, compiling = run["microseconds"], run["quartiles"], run["compile_seconds"]
    return [
        *(f"{medians[way]:,.0f} ({' ... '.join(f'{x:,.0f}' for x in quartiles[way])})" for way in ways),
        *(f"{medians['first'] / medians[way]:.2f}" for way in ways if way != "first"),
        *(in_seconds(compiling[way]) for way in ways),
    ]


def _told_of_values(rows: list[list[str]]) -> tuple[str, str]:
    text = paragraph(
        "Whether they compute the same: one step of 3 environments from the same reset, compiled without optimisation. "
        "The greatest |x - y| / (1 + |y|) of all of state, observations and rewards; beside it, what a change of the "
        "state by a millionth makes. The same command goes on with environments that are not in the table yet.",
    )
    return text, table(["environment", "last from first", "nudged"], rows)
