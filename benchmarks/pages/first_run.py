"""Wall time of the bare command."""

from pages.markdown import alternatives, in_seconds, listed, paragraph, section, table
from recording import Row


def render(runs: list[Row]) -> str:
    """The section."""
    seeds = alternatives(f"{len(run['summary']['seeds'])} seeds" for run in runs)
    header = ["run", "wall time, all included", "compilation", "training", "steps/s", f"final return of the {seeds}"]
    return section(
        "How long does a new user wait?",
        paragraph(
            f"Bare `rpo-jax train`: RPO, {seeds}, Pendulum-v1, preset `fast`. The first run starts with an empty cache "
            "of compiled programs.",
        ),
        table(header, map(_row, runs)),
    )


def _row(run: Row) -> list[str]:
    summary = run["summary"]
    return [
        run["run"],
        in_seconds(run["wall_seconds"]),
        in_seconds(summary["compile_seconds"]),
        in_seconds(summary["train_seconds"]),
        f"{summary['env_steps_per_second']:,.0f}",
        listed(summary["final_return"][0]),
    ]
