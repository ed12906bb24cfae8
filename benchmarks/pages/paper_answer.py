"""The answer to the question of all the paper's experiments, put together from them."""

from collections.abc import Iterator, Mapping

from pages import paper_noise_floor, paper_ppo_vs_rpo, paper_time_limits
from pages.findings import claim
from pages.markdown import bullets, enumeration, paragraph, section
from pages.paper import interval
from pages.paper_runs import PENDULUM, collect, compare, is_as_published, is_of_grid
from pages.paper_time_limits import BOOTSTRAP, RAW, is_same, on_pendulum
from pages.pendulum_paper import SOLVED
from recording import Row
from rpo_jax.errors import counted

Results = Mapping[str, list[Row]]  # what was recorded, by experiment
NEEDED = ("ppo-vs-rpo", "time-limits", "noise-floor", "failures")


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
    verdicts = {group: compare(methods, "rpo", "ppo") for group, methods in groups.items()}
    known = {group: verdict for group, verdict in verdicts.items() if verdict.difference}
    pendulum = [known.pop(group) for group in list(known) if group.task == PENDULUM]
    return claim(
        "On Pendulum under the published protocol it is; on most other tasks no difference to RPO is decided.",
        [one.better for one in pendulum] == [1] and sum(not one.sign for one in known.values()) > len(known) / 2,
    )


def _published(done: Results) -> str:
    told = paper_ppo_vs_rpo.verdict_told(paper_ppo_vs_rpo.PAGE.groups(done["ppo-vs-rpo"]))
    return f"Under the published protocol RPO is {told}."


def _causes(done: Results) -> Iterator[str]:
    """What makes PPO fail on Pendulum, and what time limits do elsewhere."""
    groups = paper_time_limits.PAGE.groups(done["time-limits"])
    by_setting = on_pendulum(groups)
    if {"", BOOTSTRAP, RAW} <= set(by_setting):
        ppo, right, raw = (by_setting[setting]["ppo"].known.mean() for setting in ("", BOOTSTRAP, RAW))
        rpo, raw_rpo = (by_setting[setting]["rpo"].known.mean() for setting in ("", RAW))
        yield claim(
            f"On Pendulum this takes time limits that count as terminations: PPO's mean return is {ppo:,.0f} with "
            f"them, and {right:,.0f} with bootstrapping. It takes normalised rewards too: with terminations and raw "
            f"rewards RPO does no better than PPO ({raw_rpo:,.0f} and {raw:,.0f}).",
            ppo < SOLVED < min(right, rpo) and raw_rpo < SOLVED and not compare(by_setting[RAW], "rpo", "ppo").sign,
        )
    changed, unchanged = [], []
    for group, methods in groups.items():
        other = groups.get(group._replace(setting=BOOTSTRAP))
        if group.task == PENDULUM or group.setting or other is None or is_same(methods, other):
            continue
        gain = compare({"ended": methods["ppo"], BOOTSTRAP: other["ppo"]}, BOOTSTRAP, "ended")
        advantage = compare(methods, "rpo", "ppo").difference
        if gain.sign and advantage:
            told = f"{interval(gain.difference, '+')}, where RPO's advantage is {interval(advantage, '+')}"
            changed.append(f"{group} ({told})")
        elif gain.difference:
            unchanged.append(str(group))
    kinds = {"changes PPO's mean return on": changed, "is not decided to change it on": unchanged}
    if told := "; ".join(f"{words} {enumeration(on)}" for words, on in kinds.items() if on):
        yield f"Elsewhere bootstrapping at time limits {told}."


def _rivals(done: Results) -> Iterator[str]:
    """Whether PPO with RPO's noise is RPO: where PPO itself is not, and elsewhere."""
    groups = paper_noise_floor.PAGE.groups(done["noise-floor"])
    verdicts = {
        (group, name): verdict
        for group, methods in groups.items()
        for name in methods
        if name != "rpo" and "rpo" in methods and (verdict := compare(methods, name, "rpo")).difference
    }
    rivals = {key: verdict for key, verdict in verdicts.items() if key[1] != "ppo"}
    apart = [str(group) for (group, name), verdict in verdicts.items() if name == "ppo" and verdict.sign]
    differ = [f"{name} on {group}" for (group, name), verdict in rivals.items() if verdict.sign]
    if rivals:
        names = enumeration(list(dict.fromkeys(f"`{name}`" for _, name in rivals)))
        tasks = counted(len({group for group, _ in rivals}), "task")
        decided = f"are {enumeration(differ)}" if differ else "is none"
        itself = f"on {enumeration(apart)}" if apart else "on none of them"
        yield (
            f"PPO with RPO's sigma, with it as a floor, or with a bonus that brings it near RPO's entropy ({names}), "
            f"on {tasks}: decided to differ from RPO {decided}; PPO itself differs {itself}."
        )


def _worse(done: Results) -> Iterator[str]:
    """Where RPO is worse, of all experiments as published but for the number of steps."""
    parts = [part for rows in done.values() for part in rows if is_as_published(part) and not is_of_grid(part)]
    found = {group: compare(of, "rpo", "ppo") for group, of in collect(parts).items() if {"ppo", "rpo"} <= set(of)}
    worse = [f"{group} ({interval(one.difference, '+')})" for group, one in found.items() if one.better < 0]
    if worse:
        yield f"RPO is worse on {enumeration(worse)}."
