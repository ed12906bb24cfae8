"""Sections of the paper's experiments that compare methods with each other."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import EXPERIMENTS
from pages.markdown import bullets, enumeration, number, paragraph, picture, section, table
from pages.paper_runs import (
    PENDULUM,
    Group,
    Method,
    Runs,
    collect,
    compare,
    counted,
    diverged_told,
    improvement,
    is_published_scale,
    mean,
    method_name,
    seeds_told,
)
from pages.published import published, published_difference
from recording import Row
from rpo_jax.analysis.intervals import FEWEST, Interval
from rpo_jax.analysis.panels import Line, Panel, draw_panels
from rpo_jax.analysis.statistics import interquartile_mean
from rpo_jax.analysis.verdict import judge

HEADER = (*("task", "method", "seeds", "return: mean [95% interval]", "interquartile mean", "entropy", "sigma"),)
PROTOCOL = (
    "Preset `paper`: one environment a seed, time limits as terminations unless said otherwise. The learning rate is "
    "annealed to 0 over the steps of a run, so shorter runs than the published ones are not their beginning. Sigma is "
    "the mean over action dimensions after the last update (of other heads their scale; blank where it was not "
    "recorded), entropy is in nats. Intervals by t are right for few seeds, are given from three on, and may leave the "
    "range of possible returns; the bands of pictures are such intervals too. Those of probabilities and over several "
    "tasks are bootstrap intervals, which are too narrow for few seeds. The interquartile mean leaves out a quarter of "
    "the seeds, rounded down, at either end: none of three. Of twenty comparisons without a difference one would be "
    "decided by chance, and the same runs of PPO and RPO stand in several sections. A run that diverged has no return: "
    "it is left out of means, and counted beside them, and a method that lost runs is not called better."
)
INTERVALS = (
    "Intervals are at 95%: those of means by Student's t, those of differences, which decide, by Welch's t. Published "
    "values are of 8M steps and 10 seeds (mean +- standard deviation, or read off a picture) unless they say otherwise."
)
T_OF_PUBLISHED = 2.1  # times the standard error: an interval at 95% of the difference of ten seeds each
UNITS = {"episode_return": "return", "entropy": "entropy (nats)"}


class Comparison(NamedTuple):
    """A section that compares methods.

    Attributes:
        experiment: its name.
        remark: what else is to be said of it.
        setting: in what tasks differ, beside their names; "" as published.
        method: names the methods.
        baseline: the one with which the others are compared.
        curves: those of its picture.
    """

    experiment: str
    remark: str = ""
    setting: Callable[[Row], str] = lambda part: ""
    method: Method = method_name
    baseline: str = "ppo"
    curves: tuple[str, ...] = ("episode_return", "entropy")

    def groups(self, parts: list[Row]) -> dict[Group, dict[str, Runs]]:
        """The runs of the section."""
        return collect(parts, self.method, self.setting)

    def render(self, parts: list[Row], *more: str) -> str:
        """The section, of the parts that there are.

        Args:
            parts: of the experiment.
            *more: blocks at its end.
        """
        groups = self.groups(parts)
        return section(
            EXPERIMENTS[self.experiment].question,
            paragraph(
                f"`python benchmarks/paper.py {self.experiment}`, so far with {seeds_told(groups)}.",
                INTERVALS,
                self.remark,
            ),
            bullets(
                [*findings(groups, self.baseline), *published_findings(groups, self.baseline), *_entropies(groups)]
            ),
            picture("returns and entropies", f"paper-{self.experiment}"),
            table(
                [*HEADER, f"less {self.baseline.upper()}'s return", "published"],
                [_row(group, name, of, self.baseline) for group, of in groups.items() for name in of],
            ),
            *more,
        )

    def draw(self, parts: list[Row], *last: Callable[[Axes], None]) -> Figure:
        """Curves of every method, in panels by task.

        Args:
            parts: of the experiment.
            *last: each draws one more panel.
        """
        groups = self.groups(parts)
        panels = [
            Panel(
                str(group),
                "environment steps of each run",
                UNITS[curve],
                {name: Line(runs.steps, runs.curves[curve]) for name, runs in methods.items()},
            )
            for group, methods in groups.items()
            for curve in self.curves
        ]
        figure = draw_panels(panels, spare=len(last))
        for axes, draw in zip(figure.axes[len(panels) :], last, strict=False):
            draw(axes)
        return figure


def findings(groups: dict[Group, dict[str, Runs]], baseline: str) -> Iterator[str]:
    """A sentence for each setting and each other method: where it is better, worse, or neither is decided."""
    for setting in dict.fromkeys(group.setting for group in groups):
        of_setting = {group: methods for group, methods in groups.items() if group.setting == setting}
        for name in dict.fromkeys(name for methods in of_setting.values() for name in methods if name != baseline):
            both = {group: of for group, of in of_setting.items() if {name, baseline} <= set(of)}
            if both:
                finding = f"**{name}** against {baseline}: {_finding(both, name, baseline)}."
                where = f"({setting})" if setting else ""
                yield " ".join(filter(None, [where, finding, _over_tasks(both, name, baseline)]))


def _finding(both: dict[Group, dict[str, Runs]], name: str, baseline: str) -> str:
    found: dict[str, list[str]] = {
        "better on": [],
        "worse on": [],
        "no verdict, since the one with the higher mean lost runs, on": [],
        "not decided with these seeds on": [],
        "too few seeds to say on": [],
    }
    better, worse, lost, undecided, few = found.values()
    for group, methods in both.items():
        verdict = compare(methods, name, baseline)
        kind = {1: better, -1: worse}.get(verdict.better, lost if verdict.sign else undecided)
        notes = "; ".join(filter(None, [interval(verdict.difference, "+"), diverged_told(methods, name, baseline)]))
        (kind if verdict.difference else few).append(f"{group} ({notes})" if notes else str(group))
    return "; ".join(f"{words} {enumeration(tasks)}" for words, tasks in found.items() if tasks)


def published_findings(groups: dict[Group, dict[str, Runs]], baseline: str) -> Iterator[str]:
    """For each method whether ours and the published difference to the baseline can be the same.

    Of runs of the published length, and of Pendulum's, whose shorter runs have learned all that they will.
    """
    for name in dict.fromkeys(name for methods in groups.values() for name in methods if name != baseline):
        agree, differ = [], []
        for group, methods in groups.items():
            theirs = published_difference(group.task, name, baseline, group.setting)
            ours = compare(methods, name, baseline).difference if {name, baseline} <= set(methods) else None
            if theirs and ours and (is_published_scale(group) or group.task == PENDULUM):
                width = 0.0 if np.isnan(theirs.error) else T_OF_PUBLISHED * theirs.error
                overlap = ours.low <= theirs.value + width and theirs.value - width <= ours.high
                both = f"{interval(ours, '+')}, published {'+' if theirs.value > 0 else ''}{number(theirs.value)}"
                errors = f" +- {number(theirs.error)}" if width else ""
                (agree if overlap else differ).append(f"{group} ({both}{errors}, {theirs.source})")
        kinds = {"agrees with what was published on": agree, "does not on": differ}
        if found := "; ".join(f"{words} {enumeration(tasks)}" for words, tasks in kinds.items() if tasks):
            yield f"The difference between {name} and {baseline} {found} (+- is the standard error of 10 seeds)."


def _over_tasks(both: dict[Group, dict[str, Runs]], name: str, baseline: str) -> str:
    """How often the method is better over all tasks, if there are several with seeds enough."""
    pairs = [(methods[name], methods[baseline]) for methods in both.values()]
    pairs = [pair for pair in pairs if min(len(runs.returns) for runs in pair) >= FEWEST]
    if len(pairs) < 2:
        return ""
    found = improvement(pairs)
    return (
        f"Over {len(pairs)} tasks a run of {name} is better than one of {baseline} with probability "
        f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]."
    )


def _entropies(groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """Whether RPO's policies end with more entropy than PPO's, as published."""
    verdicts = {
        group: judge(methods["rpo"].entropy, methods["ppo"].entropy)
        for group, methods in groups.items()
        if {"ppo", "rpo"} <= set(methods)
    }
    if not verdicts:
        return
    above, undecided, below = (
        [str(group) for group, verdict in verdicts.items() if verdict.sign == sign] for sign in (1, 0, -1)
    )
    kinds = {"not decided with these seeds on": undecided, "below it on": below}
    told = [f"The entropy of RPO ends above that of PPO in {len(above)} of {len(verdicts)} comparisons"]
    yield "; ".join([*told, *(f"{words} {enumeration(on)}" for words, on in kinds.items() if on)]) + "."


def interval(found: Interval | None, sign: str = "") -> str:
    """An interval as in "12 [10, 14]"; empty if there is none."""
    if found is None:
        return ""
    value = number(float(found.value))
    plus = sign if found.value > 0 else ""
    return f"{plus}{value} [{number(float(found.low))}, {number(float(found.high))}]"


def _row(group: Group, name: str, methods: dict[str, Runs], baseline: str) -> list[str]:
    runs = methods[name]
    less = compare(methods, name, baseline).difference if name != baseline and baseline in methods else None
    return [
        str(group),
        name,
        counted(runs.returns),
        interval(mean(runs.returns)) or ", ".join(map(number, runs.known)),
        number(interquartile_mean(runs.known)) if len(runs.known) else "",
        f"{np.nanmean(runs.entropy):.2f}",
        "" if np.isnan(runs.scale).all() else f"{np.nanmean(runs.scale):.3g}",
        interval(less, "+"),
        published(group.task, name, group.setting),
    ]


def _head(part: Row) -> str:
    return part["summary"]["head"].replace("normal", "")


def _environments(part: Row) -> str:
    return f"{part['summary']['config']['num_envs']:,} environments"


def _of_isaac_gym() -> str:
    """What was published of the tasks of IsaacGym."""
    tasks = ("IsaacGym Cartpole", "IsaacGym BallBalance")
    told = [f"{task}: PPO {published(task, 'ppo')}, RPO {published(task, 'rpo')}" for task in tasks]
    return (
        f"Published returns, of tasks with other rewards, so that only their order can be compared: {'; '.join(told)}."
    )


COMPARISONS = (
    Comparison(
        "at-scale",
        "Preset `fast`, with which time limits are bootstrapped. In place of IsaacGym's Cartpole and BallBalance: "
        "MuJoCo Playground's Cartpole, and a ball on a plate that two servos tilt (`ball_balance.py`). "
        + _of_isaac_gym(),
        _environments,
    ),
    Comparison("entropy", "The bonus is PPO's entropy coefficient times the entropy.", baseline="rpo"),
    Comparison("distributions", "The head is normal where it is not named.", _head),
    Comparison(
        "augmentation",
        "`drac` regularises with the log-probability of stored actions, as the published runs did; `drac-kl` with the "
        "KL divergence of DrAC's own paper.",
        baseline="rpo",
    ),
)
