"""Training through EnvPool beside EnvPool alone."""

from pages.markdown import paragraph, section, table
from recording import Row

HEADER = ("task", "seeds x environments", "steps, epochs, minibatches", "EnvPool alone: steps/s", "training", "of it")


def render(runs: list[Row]) -> str:
    """The section."""
    rows = [
        [
            run["task"],
            f"{run['seeds']} x {run['num_envs']}",
            f"{run['num_steps']}, {run['num_epochs']}, {run['num_minibatches']}",
            f"{run['stepping_alone']:,}",
            f"{run['training']:,}",
            f"{run['training'] / run['stepping_alone']:.0%}",
        ]
        for run in runs
    ]
    return section(
        "What does training through EnvPool cost?",
        paragraph(
            "Whole training beside one pool of as many environments that a Python loop steps with random actions. "
            "Training includes opening its pools.",
        ),
        table(HEADER, rows),
    )
