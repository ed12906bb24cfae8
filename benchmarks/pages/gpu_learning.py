"""Learning on a GPU beside the same runs on a CPU."""

from pages.findings import difference
from pages.markdown import alternatives, in_seconds, mean_and_deviation, paragraph, section, table
from recording import Row

HEADER = ["task", "steps a seed", "return on a GPU", "on a CPU", "difference", "steps/s", "compilation", "training"]


def render(runs: list[Row]) -> str:
    """The section."""
    seeds = alternatives(f"{len(run['summary']['seeds'])} seeds" for run in runs)
    return section(
        "Does training on a GPU learn the same?",
        paragraph(
            f"Preset `fast`, RPO, {seeds}, beside the same runs on a CPU above: mean and standard deviation over "
            "seeds, and the difference with its standard error. A GPU rounds otherwise, so single runs differ. "
            "All tasks were trained side by side on one GPU.",
        ),
        table(HEADER, map(_row, runs)),
    )


def _row(run: Row) -> list[str]:
    summary = run["summary"]
    returns, on_cpu = summary["final_return"][0], run["on_cpu"]
    return [
        run["label"],
        f"{summary['total_timesteps']:,}",
        mean_and_deviation(returns),
        mean_and_deviation(on_cpu) if on_cpu else "not trained",
        str(difference(returns, on_cpu)) if on_cpu else "",
        f"{summary['env_steps_per_second']:,.0f}",
        in_seconds(summary["compile_seconds"]),
        in_seconds(summary["train_seconds"]),
    ]
