"""Learning from minibatches of samples and of whole environments."""

import numpy as np

from pages.findings import claim, difference
from pages.markdown import in_seconds, paragraph, section, table, worst_and_best
from recording import Row


def render(runs: list[Row]) -> str:
    """The section."""
    pairs = _pairs(runs)
    apart = {task: difference(_returns(other), _returns(samples)) for task, (samples, other) in pairs.items()}
    faster = all(
        other["summary"]["train_seconds"] < samples["summary"]["train_seconds"] for samples, other in pairs.values()
    )
    rows = [row for task, (samples, other) in pairs.items() for row in (_row(samples), _row(other, str(apart[task])))]
    header = ["task", "shuffle", "seeds x steps", "return: mean", "worst ... best seed", "against samples", "training"]
    return section(
        "Does the faster shuffle learn worse?",
        paragraph(
            '`shuffle="samples"` permutes all samples of a round; `"environments"` permutes whole environments, so '
            "that a "
            "minibatch holds all steps of a few of them.",
            claim("The latter is faster on every task.", faster),
            "Preset `fast` with either, RPO. The difference of the mean returns is given with its standard error over "
            "seeds.",
            claim("It is nowhere larger than twice that.", all(one.within(2) for one in apart.values())),
        ),
        table(header, rows),
    )


def _pairs(runs: list[Row]) -> dict[str, tuple[Row, Row]]:
    """By task, the run with samples and the one with environments."""
    by_label = {run["label"]: run for run in runs}
    tasks = dict.fromkeys(label.split(", ")[0] for label in by_label)
    return {task: (by_label[f"{task}, samples"], by_label[f"{task}, environments"]) for task in tasks}


def _returns(run: Row) -> list[float]:
    return run["summary"]["final_return"][0]


def _row(run: Row, apart: str = "") -> list[str]:
    returns = _returns(run)
    return [
        *run["label"].split(", "),
        f"{len(returns)} x {run['summary']['total_timesteps']:,}",
        f"{np.mean(returns):.0f}",
        worst_and_best(returns),
        apart,
        in_seconds(run["summary"]["train_seconds"]),
    ]
