"""What a search has found: tables, pictures, and sentences that follow from the numbers."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from rpo_jax.algorithm.variants import foreign_hyperparams, get_variant
from rpo_jax.analysis.intervals import Interval
from rpo_jax.analysis.panels import Line, Panel, draw_panels
from rpo_jax.analysis.sensitivity import explained_by_chance, explained_shares, explaining
from rpo_jax.analysis.statistics import mean_of_seeds
from rpo_jax.analysis.verdict import Verdict, judge
from rpo_jax.files import atomic_write
from rpo_jax.search.halving import Candidate, Found
from rpo_jax.search.plan import split
from rpo_jax.settings.grid import grid, num_settings, settings_list
from rpo_jax.settings.presets import get_preset
from rpo_jax.settings.spec import RunSpec
from rpo_jax.settings.table import write_table

MOST_COLUMNS = 6  # of the picture, a hyperparameter each
TABLE, SETTING, DRAWN = "search.csv", "settings.csv", "search.png"


def write_answer(path: Path, found: Found) -> None:
    """Writes the table of all settings, the setting that was found, and the picture.

    Args:
        path: folder of the search.
        found: what was found.
    """
    numbers = numbers_of(found)
    stages = [f"return_at_{rung.share:.4g}" for rung in found.plan.rungs]
    with atomic_write(path / TABLE) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*found.searched, *stages, "diverged_runs", "fresh_return", "fresh_low", "fresh_high"])
        for one, values in numbers.items():
            told = [f"{scores[one]:.7g}" if one in scores else "" for scores in found.returns]
            fresh = mean_of_seeds(found.final[one]) if one in found.final else None
            last = [f"{x:.7g}" for x in fresh] if fresh else ["", "", ""]
            writer.writerow([*map(_short, values.values()), *told, found.diverged[one], *last])
    drawn = drawn_names(found)
    if drawn:
        best = numbers[next(iter(found.final))]
        write_table(path / SETTING, [{name: best[name] for name in drawn}])
    with atomic_write(path / DRAWN) as part:
        draw_search(found).savefig(part, dpi=120, format="png")


def numbers_of(found: Found) -> dict[Candidate, dict[str, Any]]:
    """Returns what is searched, of every setting, by name.

    Args:
        found: what was found.
    """
    rows = [[vars(spec.config) | row for row in settings_list(spec.hyperparams)] for spec in found.parts]
    return {(part, one): {name: rows[part][one][name] for name in found.searched} for part, one in found.returns[0]}


def drawn_names(found: Found) -> list[str]:
    """Returns the names of the hyperparameters that were drawn; the rest of what is searched are static settings.

    Args:
        found: what was found.
    """
    return [name for name in found.searched if name not in vars(found.parts[0].config)]


def changed_options(found: Found, spec: RunSpec) -> list[str]:
    """Returns the options of `rpo-jax train` for all that differs from the preset, but for what was drawn.

    Args:
        found: what was found.
        spec: specification of the part that it was found in.
    """
    preset = get_preset(spec.preset, spec.env)
    own = vars(spec.config) | settings_list(spec.hyperparams)[0]
    usual = vars(preset.config) | settings_list(grid(preset.hyperparams))[0]
    own |= {"head": spec.head, "time_limit": spec.time_limit, "network": spec.network, "backend": spec.backend}
    usual |= {"head": preset.head, "time_limit": preset.time_limit, "network": "mlp", "backend": None}
    left_out = {*drawn_names(found), *foreign_hyperparams(get_variant(spec.variant))}
    words: list[str] = []
    for name, value in own.items():
        if name not in left_out and value != usual.get(name):
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    for name, value in spec.env_args.items():
        words += ["--env-arg", f"{name}={value}"]
    return words


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def label_of(found: Found, one: Candidate) -> str:
    """Returns what was searched, of a setting, such as "learning_rate=0.001, rpo_alpha=0.3".

    Args:
        found: what was found.
        one: the setting.
    """
    return ", ".join(f"{name}={_short(value)}" for name, value in numbers_of(found)[one].items())


def draw_search(found: Found) -> Figure:
    """Plots mean returns against each number that was searched: of all settings, and of those that came to the end.

    Titles tell after which share of the training. Colours tell how far a setting came; the one that was found has a
    colour of its own.

    Args:
        found: what was found.

    Returns:
        The figure, not yet saved.
    """
    numbers = numbers_of(found)
    names = [name for name in found.searched if all(isinstance(row[name], int | float) for row in numbers.values())]
    stages = [0, len(found.returns) - 1] if len(found.returns) > 1 else [0]
    fates = _by_fate(found)
    panels = [_panel(found, fates, numbers, name, stage) for stage in stages for name in names]
    return draw_panels(panels, columns=len(names) if len(names) <= MOST_COLUMNS else 4) if panels else Figure()


def _panel(
    found: Found,
    fates: Mapping[str, list[Candidate]],
    numbers: Mapping[Candidate, Mapping[str, Any]],
    name: str,
    stage: int,
) -> Panel:
    scores, lines = found.returns[stage], {}
    for label, ones in fates.items():
        if shown := [one for one in ones if one in scores]:
            x, y = np.array([(numbers[one][name], scores[one]) for one in shown], float).T
            lines[label] = Line(x, y[None], "points")
    values = np.array([numbers[one][name] for one in scores], float)
    which = f"{len(scores)} settings at {found.plan.rungs[stage].share:.0%}"
    ylabel = "mean return" if name == found.searched[0] else ""
    return Panel(which, name, ylabel, lines, "x" if _by_magnitude(values) else "")


def _by_fate(found: Found) -> dict[str, list[Candidate]]:
    """The settings by the stage after which they were dropped, then the finalists, and the one that was found."""
    later = [*found.returns[1:], found.final]
    fates = {
        f"dropped after {rung.share:.0%}": [one for one in scores if one not in left]
        for rung, scores, left in zip(found.plan.rungs, found.returns, later, strict=True)
    }
    first, *others = found.final
    return {**fates, "finalists": others, "found": [first]}


def _by_magnitude(values: np.ndarray) -> bool:
    """Whether numbers were drawn by their order of magnitude: half of them are far below the middle."""
    low, high = values.min(), values.max()
    return low > 0 and np.median(values) < (low + high) / 4


def sentences(found: Found) -> list[str]:
    """Says what was found, and whether it is better than the preset's settings on the same fresh seeds.

    Args:
        found: what was found.

    Returns:
        The sentences.
    """
    best = next(iter(found.final))
    preset = found.parts[0].preset
    own, other = (mean_of_seeds(returns) for returns in (found.final[best], found.default))
    told = [
        f"found: {label_of(found, best)}",
        f"on {found.plan.final_seeds} fresh seeds it reaches {_told(own)}, and preset {preset} {_told(other)}",
        _compare(verdict_of(found)),
    ]
    lost = sum(1 for one in found.diverged.values() if one)
    if lost:
        told.append(f"{lost} of {len(found.diverged)} settings diverged with one seed or more; they are ranked last")
    return [*told, *_influence(found)]


def verdict_of(found: Found) -> Verdict:
    """Returns how the setting that was `found` compares with the preset's settings, on the same fresh seeds."""
    return judge(found.final[next(iter(found.final))], found.default)


def _compare(verdict: Verdict) -> str:
    diverged = (
        f"{verdict.diverged[0]} runs of the setting that was found diverged, and {verdict.diverged[1]} of the preset"
    )
    if verdict.difference is None:
        return f"not decided: {diverged}"
    found = verdict.difference
    told = f"the difference is {found.value:,.1f}, 95% interval {found.low:,.1f} to {found.high:,.1f}"
    if verdict.sign and not verdict.better:
        return f"not decided: {told}, but {diverged}"
    what = {
        1: "the search found something better than the preset",
        -1: "the preset's settings are better than what the search found",
        0: "the search found nothing that these seeds tell from the preset",
    }[verdict.better]
    return f"{what}: {told}"


def _told(interval: Interval) -> str:
    return f"{interval.value:,.1f} [{interval.low:,.1f}, {interval.high:,.1f}]"


def _influence(found: Found) -> list[str]:
    """How much each hyperparameter explains of the differences in the first stage, which has all settings.

    Of those that were drawn: what Optuna proposes is chosen by what was found, and no longer covers the ranges.
    """
    names = drawn_names(found)
    counts = [split(num_settings(spec.hyperparams), found.plan.batches)[0] for spec in found.parts]
    scores = {(part, one): score for (part, one), score in found.returns[0].items() if one < counts[part]}
    if not names or len(scores) < 16:
        return []
    numbers = numbers_of(found)
    values = np.array([[numbers[one][name] for name in names] for one in scores], float)
    returns = np.array(list(scores.values()))
    shares, chance = explained_shares(values, returns), explained_by_chance(values, returns)
    order: Sequence[int] = np.argsort(-shares, kind="stable").tolist()
    told = ", ".join(f"{names[index]} {shares[index]:.0%}" for index in order if shares[index] > chance)
    batch = " between the settings of the first batch" if found.plan.batches > 1 else ""
    first = f"of the differences{batch} after {found.plan.rungs[0].share:.4g} of training"
    if not told:
        return [f"{first} no hyperparameter by itself explains more than chance would, {chance:.0%}"]
    return [
        f"{first} each explains by itself: {told}; the others no more than chance would, {chance:.0%}; "
        f"{explaining(shares)} of {len(names)} have 95% of what single ones explain"
    ]
