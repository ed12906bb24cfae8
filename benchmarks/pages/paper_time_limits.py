"""How much of RPO's advantage is due to time limits that count as terminations?"""

from collections.abc import Iterator

import numpy as np

from pages.markdown import bullets, enumeration, paragraph
from pages.paper import Comparison, interval
from pages.paper_runs import PENDULUM, Group, Runs, compare, diverged_told
from recording import Row
from rpo_jax.analysis.statistics import ratio_of_differences
from rpo_jax.analysis.verdict import judge

BOOTSTRAP, RAW = "bootstrap", "raw rewards"


def _setting(part: Row) -> str:
    limit = BOOTSTRAP if part["summary"]["time_limit"] == "bootstrap" else ""
    rewards = "" if part["summary"]["config"]["normalize_rewards"] else RAW
    return ", ".join(filter(None, [limit, rewards]))


PAGE = Comparison(
    "time-limits",
    "Where it is not said, time limits are terminations and rewards are normalised, as published. The share of RPO's "
    "advantage that bootstrapping leaves is a ratio of two differences; its 95% interval is Fieller's.",
    _setting,
    curves=("episode_return",),
)


def render(parts: list[Row]) -> str:
    """The section."""
    groups = PAGE.groups(parts)
    return PAGE.render(
        parts,
        paragraph("Terminations or bootstrapping:"),
        bullets(advantages(groups)),
        paragraph("Normalised or raw rewards:"),
        bullets(of_rewards(groups)),
    )


def advantages(groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """For each task and kind of rewards: RPO's advantage under either treatment, and what share of it is left."""
    for group, methods in groups.items():
        other = group._replace(setting=", ".join(filter(None, [BOOTSTRAP, group.setting])))
        if BOOTSTRAP in group.setting or other not in groups:
            continue
        ended, bootstrapped = (compare(of, "rpo", "ppo") for of in (methods, groups[other]))
        if ended.difference is None or bootstrapped.difference is None:
            continue
        if is_same(methods, groups[other]):
            yield (
                f"{group}: every run is the same with bootstrapping, so no episode reached its time limit, and the "
                "task says nothing of it."
            )
            continue
        lost = {"terminations": methods, "bootstrapping": groups[other]}
        counts = [f"{count} with {name}" for name, of in lost.items() if (count := diverged_told(of, "rpo", "ppo"))]
        if ended.sign > 0 and counts:
            finding = "no share is told, since runs are missing"
        elif ended.sign > 0:
            finding = _share(methods, groups[other])
        elif ended.better < 0:
            finding = "with terminations RPO is worse"
        else:
            finding = "with terminations no difference is decided"
        yield (
            f"{group}: RPO's mean return less PPO's is {interval(ended.difference, '+')} with terminations and "
            f"{interval(bootstrapped.difference, '+')} with bootstrapping{f' ({enumeration(counts)})' * bool(counts)}: "
            f"{finding}. {_changes('Bootstrapping changes', methods, groups[other])}"
        )


def on_pendulum(groups: dict[Group, dict[str, Runs]]) -> dict[str, dict[str, Runs]]:
    """The runs on Pendulum, by setting."""
    return {group.setting: methods for group, methods in groups.items() if group.task == PENDULUM}


def of_rewards(groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """For each task and treatment of time limits: RPO's advantage with either kind of rewards."""
    for group, methods in groups.items():
        raw = group._replace(setting=", ".join(filter(None, [group.setting, RAW])))
        if RAW in group.setting or raw not in groups:
            continue
        ours, theirs = (compare(of, "rpo", "ppo").difference for of in (methods, groups[raw]))
        if ours and theirs:
            yield (
                f"{group}: RPO's mean return less PPO's is {interval(ours, '+')} with normalised rewards and "
                f"{interval(theirs, '+')} with raw ones. {_changes('Raw rewards change', methods, groups[raw])}"
            )


def is_same(methods: dict[str, Runs], bootstrapped: dict[str, Runs]) -> bool:
    """Whether bootstrapping has changed no run."""
    pairs = ((methods[name].returns, bootstrapped[name].returns) for name in ("ppo", "rpo"))
    return all(np.array_equal(*pair, equal_nan=True) for pair in pairs)


def _changes(what: str, methods: dict[str, Runs], others: dict[str, Runs]) -> str:
    """What something adds to the return of either method."""
    ppo, rpo = (judge(others[name].returns, methods[name].returns).difference for name in ("ppo", "rpo"))
    return f"{what} PPO's mean return by {interval(ppo, '+')} and RPO's by {interval(rpo, '+')}."


def _share(methods: dict[str, Runs], bootstrapped: dict[str, Runs]) -> str:
    """What share of RPO's advantage is left."""
    left, all_of_it = ((of["rpo"].returns, of["ppo"].returns) for of in (bootstrapped, methods))
    share = ratio_of_differences(*left, *all_of_it)
    if not np.isfinite(share.low):
        return "the share that is left can be any with these seeds"
    return f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of the advantage is left"
