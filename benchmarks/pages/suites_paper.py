"""PPO and RPO on the suites of the paper, beside what was published."""

import numpy as np
from matplotlib.figure import Figure

from pages.curves import draw_methods
from pages.findings import Difference, claim, difference
from pages.markdown import alternatives, in_seconds, listed, mean_and_deviation, paragraph, picture, section, table
from pages.pendulum_paper import SOLVED
from pages.published import published
from recording import Row

CLEAR = 3  # standard errors
OF_GYM = ("Pendulum-v1", "BipedalWalker-v3")  # other tasks are DeepMind Control's
HEADER = ("task", "time limit", "method", "return", "each seed", "published", "training of both")


def render(runs: list[Row]) -> str:
    """The section."""
    seeds = alternatives(f"{len(run['summary']['seeds'])} seeds" for run in runs)
    steps = alternatives(f"{run['summary']['total_timesteps']:,} steps" for run in runs)
    return section(
        "Does RPO beat PPO on the paper's suites?",
        paragraph(
            f"Preset `paper`, EnvPool's tasks, {steps} a seed, {seeds}: mean and standard deviation over seeds. The "
            'published results are of 8M steps and 10 seeds: "Table 1" of the paper (arXiv 2212.07536), and CleanRL\'s '
            "documentation of RPO. PPO is RPO with alpha 0, trained in the same call. The learning rate is annealed to "
            "0 over the steps of a run. So it falls faster here than in the published runs, and what holds after these "
            "steps need not hold after 8M.",
        ),
        paragraph(f"A difference of more than {CLEAR} standard errors is called clear.", *_findings(runs)),
        picture("curves", "suites_paper"),
        table(HEADER, [_row(run, method) for run in runs for method in ("ppo", "rpo")]),
    )


def _findings(runs: list[Row]) -> list[str]:
    finals = {run["label"]: run["summary"]["final_return"] for run in runs}
    apart = {label: difference(rpo, ppo) for label, (ppo, rpo) in finals.items()}
    clear = {label: one.mean for label, one in apart.items() if not one.within(CLEAR)}
    bootstrapped = np.mean(finals["Pendulum-v1, bootstrap"][0])
    return [
        claim(
            "After these steps RPO is clearly better on Pendulum where a time limit ends the task, and nowhere else.",
            [label for label, mean in clear.items() if mean > 0] == ["Pendulum-v1, terminate"],
        ),
        claim(
            f"With bootstrapping PPO solves Pendulum too (its mean return is above {SOLVED}).", bootstrapped > SOLVED
        ),
        claim(
            "PPO is clearly better on BipedalWalker, where the published PPO falls behind in its longer run.",
            [label for label, mean in clear.items() if mean < 0] == ["BipedalWalker-v3, terminate"],
        ),
        claim(
            "On the tasks of DeepMind Control these seeds decide nothing: the standard deviation over them is larger "
            "than the difference between the methods.",
            all(_is_small(apart[label], finals[label]) for label in finals if not label.startswith(OF_GYM)),
        ),
    ]


def _is_small(one: Difference, returns: list[list[float]]) -> bool:
    return abs(one.mean) < min(float(np.std(of_method, ddof=1)) for of_method in returns)


def _row(run: Row, method: str) -> list[str]:
    task, time_limit = run["label"].split(", ")
    returns = run["summary"]["final_return"][("ppo", "rpo").index(method)]
    return [
        task,
        time_limit,
        method.upper(),
        mean_and_deviation(returns),
        listed(returns),
        published(task, method, sources=("Table 1", "CleanRL")) if time_limit == "terminate" else "",
        in_seconds(run["summary"]["train_seconds"]),
    ]


def draw(runs: list[Row]) -> Figure:
    """Returns of both methods on each task."""
    return draw_methods(runs)
