"""Where RPO fails, and whether one rule for its alpha works there and where alpha 0.5 does."""

from collections.abc import Iterator

import numpy as np

from noise_floor import USEFUL
from pages.markdown import bullets, enumeration
from pages.paper import Comparison
from pages.paper_runs import Group, Runs, compare, method_name
from recording import Row
from rpo_jax.errors import counted

BY_LAW = "rpo-range, alpha by the law"
BOTH = ("ppo", "rpo")


def _method(part: Row, index: int) -> str:
    return BY_LAW if "by the law" in part["label"] else method_name(part, index)


PAGE = Comparison(
    "failures",
    "Returns and alpha are in raw units, but `rpo-range` has alpha in halves of the action range, and `rpo-sigma` in "
    f"units of the current sigma. {BY_LAW} is `rpo-range` with the alpha for which the law of the noise floor expects "
    f"a sigma of {USEFUL} halves of the action range.",
    method=_method,
)


def render(parts: list[Row]) -> str:
    """The section."""
    return PAGE.render(parts, bullets(rules(PAGE.groups(parts))))


def rules(groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """For each rule the tasks on which it is worse than PPO, or than RPO with alpha 0.5; and whether one never is."""
    works = {}
    for name in dict.fromkeys(name for methods in groups.values() for name in methods if name not in BOTH):
        verdicts = {
            (group, other): verdict
            for group, methods in groups.items()
            if {name, *BOTH} <= set(methods)
            for other in BOTH
            if (verdict := compare(methods, name, other)).difference
        }
        tasks = {group: groups[group] for group, _ in verdicts}
        if not tasks:
            continue
        worse = [f"{group} (than {other})" for (group, other), verdict in verdicts.items() if verdict.sign < 0]
        lost = [str(group) for group, of in groups.items() if name in of and np.isnan(of[name].returns).any()]
        faults = {"worse on": worse, "lost runs on": lost}
        told = (
            "; ".join(f"{words} {enumeration(on)}" for words, on in faults.items() if on)
            or "on none it is decided to be worse, and no run diverged"
        )
        where = f"on {counted(len(tasks), 'task')} with seeds enough of all three"
        yield f"**{name}** beside PPO and RPO with alpha 0.5, {where}: {told}."
        works[name] = not (worse or lost)
    if good := [name for name, nowhere in works.items() if nowhere]:
        yield f"So {enumeration(good)} lost no run, and is decided to be worse than either on none of these tasks."
    elif works:
        yield "So each of these rules is decided to be worse than PPO or RPO with alpha 0.5 somewhere, or lost runs."
