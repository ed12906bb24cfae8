"""Where RPO fails, and whether one rule for its alpha works there and where alpha 0.5 does."""

from collections.abc import Iterator

import numpy as np

from noise_floor import USEFUL
from pages.markdown import bullets, enumeration
from pages.paper import Comparison
from pages.paper_runs import Group, Runs, compare, method_name
from recording import Row

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
    """For each rule the tasks on which it is worse than PPO, or than RPO with alpha 0.5."""
    for name in dict.fromkeys(name for methods in groups.values() for name in methods if name not in BOTH):
        tasks = {group: methods for group, methods in groups.items() if {name, *BOTH} <= set(methods)}
        verdicts = {(group, other): compare(methods, name, other) for group, methods in tasks.items() for other in BOTH}
        if not tasks or any(verdict.difference is None for verdict in verdicts.values()):
            continue
        worse = [f"{group} (than {other})" for (group, other), verdict in verdicts.items() if verdict.sign < 0]
        lost = [str(group) for group, methods in tasks.items() if np.isnan(methods[name].returns).any()]
        faults = {"worse on": worse, "lost runs on": lost}
        told = (
            "; ".join(f"{words} {enumeration(on)}" for words, on in faults.items() if on)
            or "on none it is decided to be worse, and no run diverged"
        )
        yield f"**{name}** beside PPO and RPO with alpha 0.5, on {len(tasks)} tasks: {told}."
