"""PPO and RPO under the published protocol, task by task and over tasks (the paper's Figs 2 to 5)."""

from collections.abc import Mapping
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments import PUBLISHED
from pages.curves import METHODS
from pages.markdown import enumeration, paragraph
from pages.paper import PROTOCOL, Comparison, interval
from pages.paper_runs import Group, Runs, compare, diverged_told, is_published_scale, seeds_told
from recording import Row
from rpo_jax.analysis.curves import looks_of
from rpo_jax.analysis.intervals import FEWEST, Interval, bootstrap
from rpo_jax.analysis.statistics import interquartile_mean, performance_profile, sample_efficiency
from rpo_jax.errors import counted

PAGE = Comparison("ppo-vs-rpo", PROTOCOL)
LOOKS = dict(zip(METHODS, looks_of(METHODS), strict=True))
THRESHOLDS = np.linspace(0.0, 1.0, 51)
Tasks = list[dict[str, Runs]]


def render(parts: list[Row]) -> str:
    """The section."""
    tasks = complete(parts)
    return PAGE.render(
        parts,
        paragraph(
            f"The last two panels are over the {len(tasks)} tasks with {PUBLISHED.timesteps / 1e6:.0f}M steps and "
            f"{FEWEST} seeds or more of both methods. There returns are scaled so that 0 and 1 are the lowest and the "
            "highest return with which a run of the task ended; a run that diverged has 0. One shows the interquartile "
            "mean over all runs, the other the share of runs that end above each scaled return (Agarwal et al. 2021), "
            "both with 95% bootstrap intervals.",
            _over_tasks(tasks),
        )
        if len(tasks) > 1
        else "",
    )


def draw(parts: list[Row]) -> Figure:
    """Curves of each task, and over tasks from two on."""
    tasks = complete(parts)
    return PAGE.draw(parts, *([partial(_draw_efficiency, tasks), partial(_draw_profiles, tasks)] * (len(tasks) > 1)))


def complete(parts: list[Row]) -> Tasks:
    """The runs of the tasks of the published scale that have seeds enough."""
    return [
        methods
        for group, methods in PAGE.groups(parts).items()
        if is_published_scale(group)
        and all(name in methods and len(methods[name].returns) >= FEWEST for name in METHODS)
    ]


def verdict_told(groups: Mapping[Group, dict[str, Runs]]) -> str:
    """On how many tasks RPO is better, and worse: those of the published scale, and shorter ones apart."""
    verdicts = {group: compare(of, "rpo", "ppo") for group, of in groups.items() if {"ppo", "rpo"} <= set(of)}
    known = {group: verdict for group, verdict in verdicts.items() if verdict.difference}
    told = []
    for full in (True, False):
        some = {group: verdict for group, verdict in known.items() if is_published_scale(group) == full}
        better = [f"{group.task} ({interval(one.difference, '+')})" for group, one in some.items() if one.better > 0]
        worse = [f"{group.task} ({interval(one.difference, '+')})" for group, one in some.items() if one.better < 0]
        lost = [
            f"{group.task} ({diverged_told(groups[group], 'rpo', 'ppo')})"
            for group, one in some.items()
            if sum(one.diverged)
        ]
        if some:
            lengths = enumeration(list(dict.fromkeys(f"{group.timesteps / 1e6:.2g}M steps" for group in some)))
            seeds = seeds_told({group: {name: groups[group][name] for name in METHODS} for group in some})
            tasks = f"{counted(len(some), 'task')} with {lengths} ({seeds})"
            on, but = f"{enumeration(better)}, " * bool(better), f", {enumeration(worse)}" * bool(worse)
            verdict = f"better than PPO on {len(better)} of {tasks}, {on}and worse on {len(worse)}{but}"
            told.append("; ".join(filter(None, [verdict, f"runs were lost on {enumeration(lost)}" * bool(lost)])))
    return "; ".join(told) or "not decided to be better or worse anywhere, for want of seeds"


def _over_tasks(tasks: Tasks) -> str:
    """The interquartile means at the end over all runs, and how far RPO's is above PPO's."""
    ends = [[scaled(methods, methods[name].returns) for methods in tasks] for name in ("rpo", "ppo")]

    def middle(*of_tasks: np.ndarray) -> float:
        return interquartile_mean(np.concatenate(of_tasks))

    def above(*of_tasks: np.ndarray) -> float:
        return middle(*of_tasks[: len(tasks)]) - middle(*of_tasks[len(tasks) :])

    rpo, ppo = (bootstrap(middle, *of_method) for of_method in ends)
    difference = bootstrap(above, *ends[0], *ends[1])
    return (
        f"At the end the interquartile mean is {_scaled_told(rpo)} of RPO and {_scaled_told(ppo)} of PPO, a difference "
        f"of {_scaled_told(difference)}, by intervals that are too narrow for so few seeds of a task."
    )


def _scaled_told(found: Interval) -> str:
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def scaled(methods: dict[str, Runs], values: np.ndarray) -> np.ndarray:
    """Returns on the scale of their task; 0 of runs that diverged."""
    ends = np.concatenate([methods[name].known for name in METHODS])
    low, high = ends.min(), ends.max()
    return np.nan_to_num((values - low) / max(high - low, 1e-9))


def _curves(methods: dict[str, Runs], name: str) -> np.ndarray:
    """Scaled curves [S, P]; between points without a value the straight line, and nothing once a run has diverged."""
    runs = methods[name]
    rows = [
        np.interp(runs.steps, runs.steps[known], row[known], right=np.nan if np.isnan(end) else None)
        if (known := ~np.isnan(row)).any()
        else row
        for row, end in zip(runs.curves["episode_return"], runs.returns, strict=True)
    ]
    return scaled(methods, np.stack(rows))


def _draw_efficiency(tasks: Tasks, axes: Axes) -> None:
    for name in METHODS:
        found = sample_efficiency(*(_curves(methods, name) for methods in tasks))
        _draw(axes, tasks[0][name].steps, found.value, found.low, found.high, name)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set(title=f"{len(tasks)} tasks", xlabel="environment steps of each run", ylabel="scaled return: IQM")


def _draw_profiles(tasks: Tasks, axes: Axes) -> None:
    def profile(*scores: np.ndarray) -> np.ndarray:
        return np.mean([performance_profile(of_task, THRESHOLDS) for of_task in scores], axis=0)

    for name in METHODS:
        found = bootstrap(profile, *(scaled(methods, methods[name].returns) for methods in tasks))
        _draw(axes, THRESHOLDS, found.value, found.low, found.high, name)
    axes.set(title=f"{len(tasks)} tasks", xlabel="scaled return at the end", ylabel="share of runs above it")


def _draw(axes: Axes, x: np.ndarray, value: np.ndarray, low: np.ndarray, high: np.ndarray, name: str) -> None:
    look = LOOKS[name]
    axes.plot(x, value, look.marker, color=look.color, linestyle="-", markevery=8, label=name)
    axes.fill_between(x, low, high, color=look.color, alpha=0.2, linewidth=0)
    axes.grid(alpha=0.3)
