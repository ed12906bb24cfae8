"""PPO and RPO on MuJoCo Playground."""

from matplotlib.figure import Figure

from pages.curves import draw_methods
from pages.markdown import alternatives, in_seconds, listed, mean_and_deviation, paragraph, picture, section, table
from recording import Row

HEADER = ("task", "method", "steps a seed", "return", "each seed", "compilation", "training of both", "steps/s")


def render(runs: list[Row]) -> str:
    """The section."""
    seeds = alternatives(f"{len(run['summary']['seeds'])} seeds" for run in runs)
    return section(
        "Thousands of environments on a GPU",
        paragraph(
            f"MuJoCo Playground, preset `fast`, {seeds}, PPO (RPO with alpha 0) and RPO in one call: mean and standard "
            "deviation over seeds.",
        ),
        picture("curves", "playground_gpu"),
        table(HEADER, [_row(run, index, method) for run in runs for index, method in enumerate(("PPO", "RPO"))]),
    )


def _row(run: Row, index: int, method: str) -> list[str]:
    summary = run["summary"]
    returns = summary["final_return"][index]
    return [
        run["label"],
        method,
        f"{summary['total_timesteps']:,}",
        mean_and_deviation(returns),
        listed(returns),
        in_seconds(summary["compile_seconds"]),
        in_seconds(summary["train_seconds"]),
        f"{summary['env_steps_per_second']:,.0f}",
    ]


def draw(runs: list[Row]) -> Figure:
    """Returns of both methods on each task."""
    return draw_methods(runs)
