"""What the parts of an experiment hold, put together by task and method."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments import PUBLISHED
from recording import Row
from rpo_jax import errors
from rpo_jax.analysis.intervals import FEWEST, Interval, bootstrap
from rpo_jax.analysis.statistics import mean_of_seeds, probability_of_improvement
from rpo_jax.analysis.verdict import Verdict, judge

PENDULUM = "Pendulum-v1"
# (part, index of a setting) -> name of the method, or None where the runs are left out.
Method = Callable[[Row, int], str | None]


class Group(NamedTuple):
    """Runs that are compared with each other.

    Attributes:
        task: such as "WalkerRun-v1".
        timesteps: of every run.
        setting: in what else they differ from other groups, if in anything.
    """

    task: str
    timesteps: int
    setting: str

    def __str__(self) -> str:
        steps = f"{self.timesteps / 1e6:.2g}M steps"
        return ", ".join(filter(None, [self.task, self.setting, steps]))


class Runs(NamedTuple):
    """Runs of a method, a value for each of S seeds.

    Attributes:
        returns: mean returns at the end [S]; NaN of a run that diverged.
        entropy: of the policy at the end, in nats [S].
        scale: sigma at the end, in action units [S]; NaN where it was not recorded.
        steps: of the curves [P].
        curves: episode_return and entropy [S, P].
    """

    returns: np.ndarray
    entropy: np.ndarray
    scale: np.ndarray
    steps: np.ndarray
    curves: dict[str, np.ndarray]

    @property
    def known(self) -> np.ndarray:
        """Returns of the runs that have one."""
        return self.returns[~np.isnan(self.returns)]


def method_name(part: Row, index: int) -> str:
    """The method of a setting, and its hyperparameter where that is not the usual one."""
    summary = part["summary"]
    variant, values = summary["variant"], summary["settings"][index]
    alpha, bonus = values["rpo_alpha"], values["entropy_coefficient"]
    if variant == "rpo":
        return {0.0: "ppo", 0.5: "rpo"}.get(alpha, f"rpo, alpha {alpha:g}")
    if variant.startswith("rpo"):
        return f"{variant}, alpha {alpha:g}"
    return f"{variant}, entropy {bonus:g}" if bonus else variant


def collect(
    parts: list[Row], method: Method = method_name, setting: Callable[[Row], str] = lambda part: ""
) -> dict[Group, dict[str, Runs]]:
    """The runs of all parts, by group and method; of a seed that several parts hold, the last one's."""
    found: dict[Group, dict[str, dict[int, Runs]]] = {}
    for part in parts:
        summary = part["summary"]
        group = Group(task_of(summary), summary["total_timesteps"], setting(part))
        for index in range(len(summary["settings"])):
            if (name := method(part, index)) is not None:
                runs = found.setdefault(group, {}).setdefault(name, {})
                runs |= {seed: _run(part, index, at) for at, seed in enumerate(summary["seeds"])}
    return {
        group: {name: _joined([runs[seed] for seed in sorted(runs)]) for name, runs in methods.items()}
        for group, methods in found.items()
    }


def task_of(summary: Row) -> str:
    """The name of the task, with the suite where that is not the one of the paper's tasks."""
    suite, _, task = summary["env"].partition("/")
    return summary["env"] if suite == "brax" else task


def _run(part: Row, index: int, seed: int) -> Runs:
    summary = part["summary"]
    scales = part.get("final_scale")
    return Runs(
        np.array([summary["final_return"][index][seed]], float),
        np.array([summary["final_entropy"][index][seed]], float),
        np.array([scales[index][seed] if scales else np.nan], float),
        np.array(part["steps"]),
        {name: np.array([part["curves"][name][index][seed]], float) for name in ("episode_return", "entropy")},
    )


def _joined(runs: list[Runs]) -> Runs:
    return Runs(
        returns=np.concatenate([run.returns for run in runs]),
        entropy=np.concatenate([run.entropy for run in runs]),
        scale=np.concatenate([run.scale for run in runs]),
        steps=runs[0].steps,
        curves={name: np.concatenate([run.curves[name] for run in runs]) for name in runs[0].curves},
    )


def is_as_published(part: Row) -> bool:
    """Whether its runs are RPO with the published head, protocol and rewards, whatever alpha, epsilon and epochs."""
    if "summary" not in part or "program" in part.get("call", {}):
        return False
    summary, config = part["summary"], part["summary"]["config"]
    protocol = config["num_envs"] == 1 and config["normalize_rewards"] and summary["time_limit"] == "terminate"
    return protocol and (summary["variant"], summary["head"]) == ("rpo", "normal")


def is_published_scale(group: Group) -> bool:
    """Whether its runs are as long as the published ones."""
    return group.timesteps // 2048 == PUBLISHED.timesteps // 2048


def is_of_grid(part: Row) -> bool:
    """Whether its runs are of the grid that tests the law of the noise floor."""
    return "law, " in part["label"]


def seeds_told(groups: dict[Group, dict[str, Runs]]) -> str:
    """How many seeds the methods have: "5 seeds", or "2 to 5 seeds" of parts that are not done yet."""
    counts = [len(runs.returns) for methods in groups.values() for runs in methods.values()]
    least, most = min(counts), max(counts)
    seeds = errors.counted(most, "seed")
    return seeds if least == most else f"{least} to {seeds}"


def compare(methods: dict[str, Runs], ours: str, other: str) -> Verdict:
    """Compares the returns of two methods."""
    return judge(methods[ours].returns, methods[other].returns)


def counted(values: np.ndarray) -> str:
    """Number of runs, as in "10, 2 diverged": those without a value."""
    lost = int(np.isnan(values).sum())
    return f"{len(values)}, {lost} diverged" if lost else f"{len(values)}"


def diverged_told(methods: dict[str, Runs], *names: str) -> str:
    """How many runs of these methods diverged, as in "2 of 10 runs of rpo diverged"; empty if none did."""
    returns = {name: methods[name].returns for name in names}
    counts = {name: int(np.isnan(of).sum()) for name, of in returns.items()}
    return ", ".join(
        f"{count} of {len(returns[name])} runs of {name} diverged" for name, count in counts.items() if count
    )


def improvement(pairs: list[tuple[Runs, Runs]]) -> Interval:
    """Probability that a run is better than one of another method on the same task, with its 95% bootstrap interval.

    A run that diverged is worse than any other.

    Args:
        pairs: runs of both methods on each task.
    """

    def mean_of_tasks(*scores: np.ndarray) -> float:
        of_tasks = zip(scores[::2], scores[1::2], strict=True)
        return float(np.mean([probability_of_improvement(*both) for both in of_tasks]))

    scores = [np.where(np.isnan(runs.returns), -np.inf, runs.returns) for pair in pairs for runs in pair]
    return bootstrap(mean_of_tasks, *scores)


def mean(values: np.ndarray) -> Interval | None:
    """Mean and its 95% interval (Student's t); None of fewer than three seeds."""
    known = values[~np.isnan(values)]
    return mean_of_seeds(known) if len(known) >= FEWEST else None
