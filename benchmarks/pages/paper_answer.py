"""The answer to the question of all the paper's experiments, put together from them."""

from collections.abc import Iterator, Mapping

from pages import paper_noise_floor, paper_ppo_vs_rpo, paper_time_limits
from pages.findings import claim
from pages.markdown import bullets, enumeration, paragraph, section
from pages.paper import interval
from pages.paper_runs import collect, compare, is_as_published, is_of_grid
from pages.paper_time_limits import BOOTSTRAP, RAW, is_same
from recording import Row

Results = Mapping[str, list[Row]]  # what was recorded, by experiment
NEEDED = ("ppo-vs-rpo", "time-limits", "noise-floor", "failures")
PENDULUM = "Pendulum-v1"


def render(done: Results) -> str:
    """The section; "" before the experiments that it speaks of have been recorded."""
    if not set(NEEDED) <= set(done):
        return ""
    return section(
        "Is PPO really this bad?",
        paragraph(
            _short(done),
            "What follows is put together from the sections on the paper's experiments; differences are those of the "
            "mean returns, with 95% intervals.",
        ),
        bullets([_published(done), *_causes(done), *_rivals(done), *_worse(done)]),
    )


def _short(done: Results) -> str:
    groups = paper_ppo_vs_rpo.PAGE.groups(done["ppo-vs-rpo"])
    others = {group: compare(methods, "rpo", "ppo") for group, methods in groups.items()}
    pendulum = [others.pop(group) for group in groups if group.task == PENDULUM]
    return claim(
        "On Pendulum under the published protocol it is; on most other tasks no difference to RPO is decided.",
        all(one.better > 0 for one in pendulum) and sum(not one.better for one in others.values()) > len(others) / 2,
    )


def _published(done: Results) -> str:
    groups = paper_ppo_vs_rpo.PAGE.groups(done["ppo-vs-rpo"])
    return f"Under the published protocol RPO is {paper_ppo_vs_rpo.verdict_told(groups)}."


def _causes(done: Results) -> Iterator[str]:
    """What makes PPO fail on Pendulum, and what time limits do elsewhere."""
    groups = paper_time_limits.PAGE.groups(done["time-limits"])
    by_setting = {group.setting: methods for group, methods in groups.items() if group.task == PENDULUM}
    if {"", BOOTSTRAP, RAW} <= set(by_setting):
        ppo, right, raw = (float(by_setting[setting]["ppo"].known.mean()) for setting in ("", BOOTSTRAP, RAW))
        raw_rpo = float(by_setting[RAW]["rpo"].known.mean())
        yield claim(
            f"On Pendulum PPO's failure takes both time limits that count as terminations and normalised rewards: its "
            f"mean return is {ppo:,.0f} with both, {right:,.0f} with bootstrapping, and {raw:,.0f} with raw rewards, "
            f"where RPO's falls to {raw_rpo:,.0f}.",
            ppo < raw < right and compare(by_setting[RAW], "rpo", "ppo").sign == 0,
        )
    gains = [
        f"{group} ({interval(gain, '+')}, where RPO's advantage is {interval(advantage, '+')})"
        for group, methods in groups.items()
        if group.task != PENDULUM
        and not group.setting
        and (other := groups.get(group._replace(setting=BOOTSTRAP)))
        and not is_same(methods, other)
        and (advantage := compare(methods, "rpo", "ppo").difference)
        and (gain := compare({"ended": methods["ppo"], BOOTSTRAP: other["ppo"]}, BOOTSTRAP, "ended").difference)
    ]
    if gains:
        yield f"Elsewhere bootstrapping at time limits changes PPO's mean return on {enumeration(gains)}."


def _rivals(done: Results) -> Iterator[str]:
    """Whether PPO with RPO's noise is RPO."""
    groups = paper_noise_floor.PAGE.groups(done["noise-floor"])
    names = dict.fromkeys(name for methods in groups.values() for name in methods if name not in ("ppo", "rpo"))
    decided = [
        f"{name} on {group}"
        for group, methods in groups.items()
        for name in names
        if {name, "rpo"} <= set(methods) and compare(methods, name, "rpo").sign
    ]
    told = f"Of PPO with RPO's sigma, with it as a floor, or with a bonus for its entropy ({enumeration(list(names))})"
    if names and not decided:
        yield f"{told} none is decided to differ from RPO, on {len(groups)} tasks."
    elif names:
        yield f"{told} these differ from RPO: {enumeration(decided)}."


def _worse(done: Results) -> Iterator[str]:
    """Where RPO is worse, of all experiments as published but for the number of steps."""
    parts = [part for rows in done.values() for part in rows if is_as_published(part) and not is_of_grid(part)]
    found = {group: compare(of, "rpo", "ppo") for group, of in collect(parts).items() if {"ppo", "rpo"} <= set(of)}
    worse = [f"{group} ({interval(one.difference, '+')})" for group, one in found.items() if one.better < 0]
    if worse:
        yield f"RPO is worse on {enumeration(worse)}."
