"""Is RPO anything but a floor under the noise? PPO with the same sigma, or the same entropy, beside RPO."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from pages.markdown import bullets, enumeration
from pages.paper import Comparison, interval
from pages.paper_law import draw_law, of_grid
from pages.paper_runs import Group, Runs, compare, is_of_grid, method_name
from recording import Row
from rpo_jax.analysis.intervals import FEWEST, bootstrap

BONUS = "ppo, chosen bonus"
FLOOR = "ppo-min-std"
ABOVE = 1.2  # times its floor: that far the sigma of a policy is well above it


def _method(part: Row, index: int) -> str | None:
    """Only what is compared, by the calls of the experiment."""
    if is_of_grid(part) or "choice" in part["label"]:
        return None
    return BONUS if "by a bonus" in part["label"] else method_name(part, index)


PAGE = Comparison(
    "noise-floor",
    "`ppo-constant-std` holds sigma throughout at the value with which RPO ended on the same task, `ppo-min-std` has "
    "it as a floor, and the chosen bonus is the entropy coefficient, of five, that came closest to RPO's entropy on "
    "other seeds.",
    method=_method,
    baseline="rpo",
)


def render(parts: list[Row]) -> str:
    """The section."""
    groups = PAGE.groups(parts)
    return PAGE.render(parts, bullets([*shares(groups), *_bonuses(parts, groups), *_floors(parts, groups)]))


def shares(groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """How much of RPO's advantage over PPO its rivals have, where it is decided."""
    undecided = []
    for group, methods in groups.items():
        if not {"ppo", "rpo"} <= set(methods) or len(methods) == 2:
            continue
        advantage = compare(methods, "rpo", "ppo")
        if advantage.better <= 0:
            undecided.append(str(group))
            continue
        told = [
            f"{name} {_share(methods, name)}"
            for name, runs in methods.items()
            if name not in ("ppo", "rpo") and len(runs.known) >= FEWEST
        ]
        if told:
            yield (
                f"{group}: of RPO's advantage over PPO, {interval(advantage.difference, '+')}, its rivals have: "
                f"{enumeration(told)} (bootstrap intervals)."
            )
    if undecided:
        yield f"On {enumeration(undecided)} RPO has no decided advantage over PPO that a rival could have or lack."


def _share(methods: dict[str, Runs], name: str) -> str:
    def share(rival: np.ndarray, ppo: np.ndarray, rpo: np.ndarray) -> float:
        return (rival.mean() - ppo.mean()) / (rpo.mean() - ppo.mean())

    found = bootstrap(share, *(methods[one].known for one in (name, "ppo", "rpo")))
    return f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _bonuses(parts: list[Row], groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """Which coefficient was chosen on each task, and the entropies with it."""
    chosen = {
        group: part["call"]["entropy_coefficient"]
        for part in parts
        if "by a bonus" in part["label"]
        for group in PAGE.groups([part])
    }
    told = [
        f"{chosen[group]:g} on {group} (entropy {np.nanmean(methods[BONUS].entropy):.2f}, RPO's "
        f"{np.nanmean(methods['rpo'].entropy):.2f})"
        for group, methods in groups.items()
        if group in chosen and "rpo" in methods and len(methods[BONUS].known) and len(methods["rpo"].known)
    ]
    tried = next((part["call"]["entropy_coefficient"] for part in parts if "choice" in part["label"]), None)
    if told and tried:
        coefficients = enumeration([f"{one:g}" for one in tried])
        yield f"Of the coefficients {coefficients} the chosen ones are {enumeration(told)}."


def _floors(parts: list[Row], groups: dict[Group, dict[str, Runs]]) -> Iterator[str]:
    """Where the floor is not what holds sigma up."""
    floors = {
        group: math.exp(part["call"]["min_log_std"])
        for part in parts
        if "as a floor" in part["label"]
        for group in PAGE.groups([part])
    }
    above = [
        f"{group} ({sigma:.3g}, floor {floor:.3g})"
        for group, floor in floors.items()
        if (sigma := float(np.nanmean(groups[group][FLOOR].scale))) > ABOVE * floor
    ]
    if above:
        yield f"{FLOOR} ends well above its floor on {enumeration(above)}."


def draw(parts: list[Row]) -> Figure:
    """Curves of the rivals; and observed sigma over predicted sigma, a mark for each task."""
    settings = of_grid(parts)
    return PAGE.draw(parts, *([partial(draw_law, settings)] if settings else []))
