"""How much of RPO's advantage is due to time limits that count as terminations?"""

from collections.abc import Iterator

from pages.markdown import bullets
from pages.paper import Comparison, interval
from pages.paper_runs import Group, Runs, difference
from recording import Row

BOOTSTRAP, RAW = "bootstrap", "raw rewards"


def _setting(part: Row) -> str:
    limit = BOOTSTRAP if part["summary"]["time_limit"] == "bootstrap" else ""
    rewards = "" if part["summary"]["config"]["normalize_rewards"] else RAW
    return ", ".join(filter(None, [limit, rewards]))


PAGE = Comparison(
    "time-limits",
    "Where it is not said, time limits are terminations and rewards are normalised, as published.",
    _setting,
    curves=("episode_return",),
)


def render(parts: list[Row]) -> str:
    """The section."""
    return PAGE.render(parts, bullets(advantages(PAGE.groups(parts))))


def advantages(groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """For each task and kind of rewards: RPO's advantage under either treatment, and what share of it is left."""
    for group, methods in groups.items():
        other = group._replace(setting=", ".join(filter(None, [BOOTSTRAP, group.setting])))
        if BOOTSTRAP in group.setting or other not in groups:
            continue
        ended, bootstrapped = (difference(of["rpo"], of["ppo"]) for of in (methods, groups[other]))
        if ended is None or bootstrapped is None:
            continue
        told = (
            f"{group}: RPO's mean return less PPO's is {interval(ended, '+')} with terminations and "
            f"{interval(bootstrapped, '+')} with bootstrapping"
        )
        if ended.low > 0:
            yield f"{told}: {float(bootstrapped.value / ended.value):.0%} of the advantage is left."
        elif ended.high < 0:
            yield f"{told}: with terminations RPO is worse."
        else:
            yield f"{told}: with terminations no difference is decided."
