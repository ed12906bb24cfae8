"""What a search finds, and what it costs."""

import numpy as np

from pages.findings import claim
from pages.markdown import in_seconds, paragraph, section, table
from recording import Row
from rpo_jax.analysis.statistics import mean_of_seeds
from rpo_jax.analysis.verdict import judge

SOLVED = -200.0  # return of Pendulum-v1


def render(runs: list[Row]) -> str:
    """The section."""
    return section(
        "What does a search find, and what does it cost?",
        paragraph(
            "`rpo-jax search` draws settings, drops the worse half at fixed points, and trains the best few on fresh "
            "seeds that chose nothing, beside the preset's settings. On Pendulum the ranges are far wider than anybody "
            "would look, so that most settings learn nothing. With `--sampler tpe` Optuna proposes three of four "
            "batches of settings, from what those before got."
        ),
        table(
            [
                "task",
                "sampler",
                "settings",
                "steps of each",
                "wall time",
                "found, on fresh seeds",
                "preset, same seeds",
                "verdict",
            ],
            [_row(run) for run in runs],
        ),
        *(_tell(run) for run in runs),
    )


def _row(run: Row) -> list[str]:
    plan = run["plan"]
    means = (mean_of_seeds(np.array(returns, float)) for returns in (run["final"][0], run["default"]))
    found, default = (f"{mean.value:,.0f} [{mean.low:,.0f}, {mean.high:,.0f}]" for mean in means)
    counts = f"{' -> '.join(map(str, run['stages']))} x {plan['num_seeds']} seeds"
    judged = judge(np.array(run["final"][0], float), np.array(run["default"], float))
    told = {1: "found is better", 0: "not told apart", -1: "preset is better"}
    verdict = "not decided: runs diverged" if judged.sign != judged.better else told[judged.better]
    return [
        run["env"],
        _sampler(run),
        counts,
        f"{run['total_timesteps']:,}",
        in_seconds(run["seconds"]),
        found,
        default,
        verdict,
    ]


def _sampler(run: Row) -> str:
    return "tpe" if run["plan"].get("batches", 1) > 1 else "sobol"


def _tell(run: Row) -> str:
    processes = run["plan"]["num_settings"] * run["process_seconds"]
    told = (
        f"{run['env']}, {_sampler(run)}: the search took as long as "
        f"{run['seconds'] / run['process_seconds']:.0f} processes that each train one setting with as many seeds "
        f"({in_seconds(run['process_seconds'])} each); one for each of the "
        f"{run['plan']['num_settings']} settings would take {in_seconds(processes)}, without fresh seeds. "
        + claim("The search is the cheaper one.", run["seconds"] < processes)
    )
    if run["work"].startswith("pendulum"):
        reached = [np.mean(returns) >= SOLVED for returns in run["final"]]
        told += claim(
            f" On fresh seeds {sum(reached)} of the {len(reached)} finalists reach {SOLVED:.0f}, the one that was "
            "found among them.",
            reached[0],
        )
    return paragraph(f"{told} In the words of the command: {'. '.join(run['sentences'])}.")
