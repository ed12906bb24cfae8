"""Returns to be expected of presets as they are, from all results that were trained with one."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from pages.markdown import paragraph, section, table, worst_and_best
from pages.paper import interval
from pages.paper_runs import mean, method_name
from recording import Row
from rpo_jax.files import plain
from rpo_jax.settings.presets import Preset, get_preset

HEADER = ("task", "preset", "time limit", "head", "method", "steps", "seeds", "return: mean [95% interval]")
TITLE = "Which returns are to be expected?"


class Expected(NamedTuple):
    """What a command trains.

    Attributes:
        env: name of the environment.
        preset: name of the preset.
        time_limit: treatment of time limits.
        head: name of the head.
        method: PPO, or RPO with its alpha where that is not the usual one.
        alpha: that of RPO.
        timesteps: of every run.
    """

    env: str
    preset: str
    time_limit: str
    head: str
    method: str
    alpha: float
    timesteps: int

    def command(self, num_seeds: int) -> str:
        """The command that trains this.

        Args:
            num_seeds: number of seeds.
        """
        preset = get_preset(self.preset, self.env)
        options = {
            "preset": (self.preset, "fast"),
            "time-limit": (self.time_limit, preset.time_limit),
            "head": (self.head, preset.head),
            "rpo-alpha": (self.alpha, preset.hyperparams.rpo_alpha),
            "total-timesteps": (self.timesteps, preset.config.total_timesteps),
            "num-seeds": (num_seeds, 8),
        }
        given = [
            f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}"
            for name, (value, usual) in options.items()
            if value != usual
        ]
        return " ".join(["rpo-jax train", self.env, *given])


def render(parts: Iterable[Row]) -> str:
    """The section.

    Args:
        parts: the runs of all results.
    """
    found = collect(parts)
    return section(
        TITLE,
        paragraph(
            "PPO, which is RPO with alpha 0, and RPO with the preset's alpha: everything above that was trained with a "
            "preset as it is, but for the number of steps, the treatment of time limits and the head. Of the same runs "
            "in several studies those of the newest version are taken. The interval is that of the mean over seeds "
            "(Student's t, from three seeds on)."
        ),
        table([*HEADER, "worst ... best", "command"], [_row(what, found[what]) for what in sorted(found)]),
    )


def collect(parts: Iterable[Row]) -> dict[Expected, dict[int, float]]:
    """Mean returns at the end, by what was trained and seed; of several versions of rpo_jax the newest one's."""
    found: dict[Expected, dict[str, dict[int, float]]] = {}
    for part in parts:
        for what, returns in _of_part(part):
            found.setdefault(what, {}).setdefault(part["summary"]["versions"]["rpo_jax"], {}).update(returns)
    return {what: versions[max(versions, key=_numbers)] for what, versions in found.items()}


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _of_part(part: Row) -> Iterator[tuple[Expected, dict[int, float]]]:
    summary = part.get("summary") or {}
    if "label" not in part or not summary.get("preset") or summary["variant"] not in ("ppo", "rpo"):
        return
    preset = get_preset(summary["preset"], summary["env"])
    for index, setting in enumerate(summary["settings"]):
        if _as_it_is(preset, summary["config"], setting):
            what = Expected(
                **{name: summary[name] for name in ("env", "preset", "time_limit", "head")},
                method=method_name(part, index),
                alpha=setting["rpo_alpha"],
                timesteps=summary["config"]["total_timesteps"],
            )
            returns = zip(summary["seeds"], summary["final_return"][index], strict=True)
            yield what, {seed: value for seed, value in returns if value is not None}


def _as_it_is(preset: Preset, config: dict[str, Any], setting: dict[str, Any]) -> bool:
    """Whether settings are those of a preset, with alpha or without; settings of later versions are not recorded."""
    if setting["rpo_alpha"] not in (0, preset.hyperparams.rpo_alpha):
        return False
    usual = {**plain(dataclasses.asdict(preset.config)), **plain(dataclasses.asdict(preset.hyperparams))}
    chosen = {"total_timesteps", "rpo_alpha"}
    return all(usual.get(name) == value for name, value in {**config, **setting}.items() if name not in chosen)


def _row(what: Expected, returns: dict[int, float]) -> list[str]:
    values = list(returns.values())
    return [
        what.env,
        what.preset,
        what.time_limit,
        what.head,
        what.method,
        f"{what.timesteps:,}",
        str(len(values)),
        interval(mean(np.array(values))) or ", ".join(f"{value:,.0f}" for value in values),
        worst_and_best(values),
        f"`{what.command(len(values))}`",
    ]
