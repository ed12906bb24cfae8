"""PPO and RPO under both treatments of the time limit, with three heads."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pages.curves import METHODS, curve, curves_panel
from pages.findings import claim, difference
from pages.markdown import alternatives, paragraph, picture, section, table, worst_and_best
from recording import Row
from rpo_jax.analysis.panels import draw_panels

SOLVED, FAILED = -200, -500
ORDER = ("normal", "laplace", "gumbel", "terminate", "bootstrap", "ppo", "rpo")


def render(runs: list[Row]) -> str:
    """The section."""
    finals = {run["label"]: run["summary"]["final_return"][0] for run in runs}
    seeds = alternatives(f"{len(returns)} seeds" for returns in finals.values())
    steps = alternatives(f"{run['summary']['total_timesteps']:,} steps" for run in runs)
    header = ["head", "time limit", "method", "return: mean", "worst ... best seed", "entropy: start -> end"]
    rows = [_row(run) for run in sorted(runs, key=lambda run: [ORDER.index(part) for part in run["label"].split(", ")])]
    return section(
        "Does PPO fail on Pendulum?",
        paragraph(
            f"Preset `paper`, Pendulum-v1, {steps}, {seeds}. Solved means here that the mean return is above {SOLVED}.",
            *_normal(finals),
            *_other_heads(finals, {run["label"]: run for run in runs}),
        ),
        picture("curves", "pendulum_paper"),
        table(header, rows),
    )


def _normal(finals: dict[str, Sequence[float]]) -> list[str]:
    ppo, rpo = (finals[f"normal, terminate, {variant}"] for variant in ("ppo", "rpo"))
    right_ppo, right_rpo = (finals[f"normal, bootstrap, {variant}"] for variant in ("ppo", "rpo"))
    recovered = difference(right_ppo, ppo).mean / difference(rpo, ppo).mean
    return [
        claim(
            f"If a time limit ends the task, as in the paper, PPO with a normal head fails: no seed reaches {FAILED}.",
            max(ppo) < FAILED,
        ),
        claim("RPO solves the task.", _is_solved(rpo)),
        claim(
            "If the value is bootstrapped at the time limit, both solve it.",
            _is_solved(right_ppo) and _is_solved(right_rpo),
        ),
        claim(
            f"Bootstrapping alone closes {recovered:.0%} of PPO's gap to RPO, so most of that gap is due to the "
            "treatment of time limits, not to the method.",
            recovered > 0.5,
        ),
    ]


def _other_heads(finals: dict[str, Sequence[float]], runs: dict[str, Row]) -> list[str]:
    laplace = [returns for label, returns in finals.items() if label.startswith("laplace")]
    ppo, rpo = (finals[f"gumbel, bootstrap, {variant}"] for variant in ("ppo", "rpo"))
    apart = difference(rpo, ppo)
    (ppo_first, ppo_last), (rpo_first, rpo_last) = (
        _entropies(runs[f"gumbel, bootstrap, {variant}"]) for variant in ("ppo", "rpo")
    )
    return [
        claim("With a Laplace head both methods solve it either way.", all(map(_is_solved, laplace))),
        claim(
            "With a Gumbel head and bootstrapping neither method solves it.",
            not _is_solved(ppo) and not _is_solved(rpo),
        ),
        claim(
            f"There RPO's mean less PPO's is {apart} (standard error), which is within chance.",
            apart.within(2),
        ),
        claim(
            f"The entropy of RPO rises there, from {rpo_first:.2f} to {rpo_last:.2f}; that of PPO falls, from "
            f"{ppo_first:.2f} to {ppo_last:.2f}.",
            rpo_last > rpo_first and ppo_last < ppo_first,
        ),
    ]


def _is_solved(returns: Sequence[float]) -> bool:
    return bool(np.mean(returns) > SOLVED)


def _entropies(run: Row) -> tuple[float, float]:
    return float(np.mean(run["first_entropy"][0])), float(np.mean(run["summary"]["final_entropy"][0]))


def _row(run: Row) -> list[str]:
    returns = run["summary"]["final_return"][0]
    head, time_limit, variant = run["label"].split(", ")
    return [
        head,
        time_limit,
        variant.upper(),
        f"{np.mean(returns):,.0f}",
        worst_and_best(returns),
        "{:.2f} -> {:.2f}".format(*_entropies(run)),
    ]


def draw(runs: list[Row]) -> Figure:
    """Return and entropy of the normal head."""
    panels = []
    for name, limit in itertools.product(("episode_return", "entropy"), ("terminate", "bootstrap")):
        wanted = {f"normal, {limit}, {method}": method for method in METHODS}
        lines = {wanted[run["label"]]: curve(run, name) for run in runs if run["label"] in wanted}
        panels.append(curves_panel(f"time limit: {limit}", name, lines))
    return draw_panels(panels)
