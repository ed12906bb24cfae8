"""Sections of the paper's experiments that compare methods with each other."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments import EXPERIMENTS
from noise_floor import USEFUL
from pages.markdown import bullets, enumeration, number, paragraph, picture, section, table
from pages.paper_runs import Group, Method, Runs, collect, difference, mean, method_name, seeds_told
from pages.published import published
from recording import Row
from rpo_jax.analysis.curves import draw_curve, looks_of
from rpo_jax.analysis.intervals import Interval
from rpo_jax.analysis.statistics import interquartile_mean

HEADER = (*("task", "method", "seeds", "return: mean [95% interval]", "interquartile mean", "entropy", "sigma"),)
PROTOCOL = (
    "Preset `paper`: one environment a seed, time limits as terminations unless said otherwise. The learning rate is "
    "annealed to 0 over the steps of a run, so shorter runs than the published ones are not their beginning. Sigma is "
    "the mean over action dimensions after the last update (of other heads their scale), entropy is in nats; "
    "intervals are of the mean (bootstrap, which is too narrow for few seeds) and of the difference of two means "
    "(Welch's t), from three seeds on. Of twenty comparisons without a difference one would be decided by chance."
)
UNITS = {"episode_return": "return", "entropy": "entropy (nats)"}
COLUMNS = 4
BY_LAW = "rpo-range, alpha by the law"


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
                f"`python benchmarks/paper.py {self.experiment}`, so far with {seeds_told(groups)}.", self.remark
            ),
            bullets([*findings(groups, self.baseline), *_entropies(groups)]),
            picture("returns and entropies", f"paper-{self.experiment}"),
            table(
                [*HEADER, f"less {self.baseline.upper()}'s return", "published"],
                [_row(group, name, of, self.baseline) for group, of in groups.items() for name in of],
            ),
            *more,
        )

    def draw(self, parts: list[Row], last: Callable[[Axes], None] | None = None) -> Figure:
        """Curves of every method, in panels by task.

        Args:
            parts: of the experiment.
            last: draws one more panel.
        """
        groups = self.groups(parts)
        names = list(dict.fromkeys(name for methods in groups.values() for name in methods))
        looks = dict(zip(names, looks_of(names), strict=True))
        panels = [(group, curve) for group in groups for curve in self.curves]
        used = len(panels) + (last is not None)
        columns = min(COLUMNS, used)
        rows = -(-used // columns)
        figure = Figure(figsize=(4 * columns, 0.4 + 2.9 * rows), layout="constrained")
        spaces = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, (group, curve) in zip(spaces, panels, strict=False):
            for name, runs in groups[group].items():
                draw_curve(axes, runs.steps, runs.curves[curve], looks[name], name)
            axes.set_title(str(group), fontsize=10)
            axes.set_xlabel("environment steps of each run")
            axes.set_ylabel(UNITS[curve])
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.grid(alpha=0.3)
        for axes in spaces[used:]:
            axes.set_axis_off()
        legend = {label: line for axes in spaces for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
        figure.legend(list(legend.values()), list(legend), loc="outside upper center", ncols=6)
        if last:
            last(spaces[len(panels)])
        return figure


def findings(groups: dict[Group, dict[str, Runs]], baseline: str) -> Iterator[str]:
    """A sentence for each setting and each other method: where it is better, worse, or neither is decided."""
    for setting in dict.fromkeys(group.setting for group in groups):
        of_setting = {str(group): methods for group, methods in groups.items() if group.setting == setting}
        for name in dict.fromkeys(name for methods in of_setting.values() for name in methods if name != baseline):
            both = {task: methods for task, methods in of_setting.items() if {name, baseline} <= set(methods)}
            differences = {task: difference(of[name], of[baseline]) for task, of in both.items()}
            if differences:
                yield f"**{name}** against {baseline}: {_finding(differences)}."


def _finding(differences: dict[str, Interval | None]) -> str:
    known = {task: found for task, found in differences.items() if found is not None}
    better = {task: found for task, found in known.items() if found.low > 0}
    worse = {task: found for task, found in known.items() if found.high < 0}
    open_ = [task for task in known if task not in better and task not in worse]
    few = [task for task in differences if task not in known]
    clauses = [
        better and f"better on {_listed(better)}",
        worse and f"worse on {_listed(worse)}",
        open_ and f"not decided with these seeds on {enumeration(open_)}",
        few and f"too few seeds to say on {enumeration(few)}",
    ]
    return "; ".join(filter(None, clauses))


def _entropies(groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """Whether RPO's policies end with more entropy than PPO's, as published."""
    both = {group: methods for group, methods in groups.items() if {"ppo", "rpo"} <= set(methods)}
    above = [
        str(group)
        for group, methods in both.items()
        if np.nanmean(methods["rpo"].entropy) > np.nanmean(methods["ppo"].entropy)
    ]
    others = [str(group) for group in both if str(group) not in above]
    if both:
        told = f"The entropy of RPO ends above that of PPO in {len(above)} of {len(both)} comparisons"
        yield f"{told}; not on {enumeration(others)}." if others else f"{told}."


def _listed(found: dict[str, Interval]) -> str:
    return enumeration([f"{task} ({interval(one, '+')})" for task, one in found.items()])


def interval(found: Interval | None, sign: str = "") -> str:
    """An interval as in "12 [10, 14]"; empty if there is none."""
    if found is None:
        return ""
    value = number(float(found.value))
    plus = sign if found.value > 0 else ""
    return f"{plus}{value} [{number(float(found.low))}, {number(float(found.high))}]"


def _row(group: Group, name: str, methods: dict[str, Runs], baseline: str) -> list[str]:
    runs = methods[name]
    diverged = len(runs.returns) - len(runs.known)
    less = difference(runs, methods[baseline]) if name != baseline and baseline in methods else None
    return [
        str(group),
        name,
        f"{len(runs.returns)}" + f", {diverged} diverged" * bool(diverged),
        interval(mean(runs.returns)) or ", ".join(map(number, runs.known)),
        number(interquartile_mean(runs.known)) if len(runs.known) else "",
        f"{np.nanmean(runs.entropy):.2f}",
        "" if np.isnan(runs.scale).all() else f"{np.nanmean(runs.scale):.3g}",
        interval(less, "+"),
        published(group.task, name, group.setting),
    ]


def _head(part: Row) -> str:
    return part["summary"]["head"].replace("normal", "")


def _alpha_of_law(part: Row, index: int) -> str:
    return BY_LAW if "by the law" in part["label"] else method_name(part, index)


def _environments(part: Row) -> str:
    return f"{part['summary']['config']['num_envs']:,} environments"


COMPARISONS = (
    Comparison("ppo-vs-rpo", PROTOCOL),
    Comparison(
        "at-scale",
        "Preset `fast`, with which time limits are bootstrapped. In place of IsaacGym's Cartpole and BallBalance: "
        "MuJoCo Playground's Cartpole, and a ball on a plate that two servos tilt (`ball_balance.py`).",
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
    Comparison(
        "failures",
        "Returns and alpha are in raw units, but `rpo-range` has alpha in halves of the action range, and `rpo-sigma` "
        f"in units of the current sigma. {BY_LAW} is `rpo-range` with the alpha for which the law of the noise floor "
        f"expects a sigma of {USEFUL} halves of the action range.",
        method=_alpha_of_law,
    ),
)
