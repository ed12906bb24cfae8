"""RPO over the range of alpha (the paper's Fig 9)."""

import itertools
import re

import numpy as np
from matplotlib.figure import Figure

from pages.markdown import enumeration, paragraph
from pages.paper import Comparison
from pages.paper_runs import Group, Runs
from recording import Row
from rpo_jax.analysis.intervals import FEWEST, bootstrap
from rpo_jax.analysis.panels import Line, Panel, draw_panels
from rpo_jax.analysis.sensitivity import effective_dimensionality, normalize_scores, sensitivity

PAGE = Comparison("alpha", "PPO is RPO with alpha 0. In the picture it is at the left end.")
LEFT = 3e-4  # where alpha 0 is drawn
UNMOVED = 0.02  # from its beginning, of sigma
PANELS = (("returns", "return"), ("entropy", "entropy (nats)"), ("scale", "sigma (action units)"))


def render(parts: list[Row]) -> str:
    """The section."""
    groups = PAGE.groups(parts)
    return PAGE.render(parts, paragraph(_unmoved(groups)), paragraph(_sensitivity(groups)))


def _unmoved(groups: dict[Group, dict[str, Runs]]) -> str:
    """Where sigma has not moved from where it began, which is 1."""
    found = [
        f"{group} ({enumeration(names)})"
        for group, methods in groups.items()
        if (names := [name for name, runs in methods.items() if _is_unmoved(runs.scale)])
    ]
    return f"Sigma ended within {UNMOVED} of 1, where it begins, in every run on {enumeration(found)}." if found else ""


def _is_unmoved(scale: np.ndarray) -> bool:
    known = scale[~np.isnan(scale)]
    return len(known) > 0 and bool(np.allclose(known, 1.0, rtol=0, atol=UNMOVED))


def _sensitivity(groups: dict[Group, dict[str, Runs]]) -> str:
    """What one alpha for all tasks costs, if several tasks have enough runs of the same ones that did not diverge."""
    names = list(dict.fromkeys(name for methods in groups.values() for name in methods))
    of_tasks = [[methods[name].known for name in names] for methods in groups.values() if set(methods) == set(names)]
    complete = [returns for returns in of_tasks if min(map(len, returns)) >= FEWEST]
    if len(complete) < 2 or len(names) < 3:
        return ""

    def scores_of(*returns: np.ndarray) -> np.ndarray:
        return normalize_scores(np.array([x.mean() for x in returns]).reshape(len(complete), len(names)))

    every = list(itertools.chain(*complete))
    scores = scores_of(*every)
    resampled = bootstrap(lambda *returns: sensitivity(scores_of(*returns)), *every)
    best = names[int(scores.mean(0).argmax())]
    return (
        f"Over {len(complete)} tasks, with mean returns scaled so that 0 and 1 are the 5th and 95th percentiles over "
        f"alphas: the best alpha for all ({best}) reaches {scores.mean(0).max():.2f}, and the best of each task "
        f"{scores.max(1).mean():.2f}, of which the noise of the seeds is a part. The difference is the sensitivity, "
        f"{resampled.value:.2f} [{resampled.low:.2f}, {resampled.high:.2f}] (bootstrap over seeds); the effective "
        f"dimensionality is {effective_dimensionality(scores)} of 1 (Adkins et al. 2024)."
    )


def draw(parts: list[Row]) -> Figure:
    """Return, entropy and sigma over alpha: every seed, the mean and its interval; a row for each task."""
    panels = []
    for group, methods in PAGE.groups(parts).items():
        by_alpha = sorted((max(_alpha(name), LEFT), runs) for name, runs in methods.items())
        for name, label in PANELS:
            line = _line([(alpha, getattr(runs, name)) for alpha, runs in by_alpha])
            log = "xy" if name == "scale" else "x"
            panels.append(Panel(str(group), "alpha (action units)", label, {"rpo": line}, log))
    return draw_panels(panels, columns=len(PANELS))


def _line(values: list[tuple[float, np.ndarray]]) -> Line:
    """Of each alpha its own seeds, which may be more or fewer than those of others."""
    rows = np.full((max(len(of_alpha) for _, of_alpha in values), len(values)), np.nan)
    for column, (_, of_alpha) in zip(rows.T, values, strict=True):
        column[: len(of_alpha)] = of_alpha
    return Line(np.array([alpha for alpha, _ in values]), rows, "settings")


def _alpha(name: str) -> float:
    found = re.search(r"alpha (.+)", name)
    return float(found[1]) if found else {"ppo": 0.0, "rpo": 0.5}[name]
