"""The parts of README.md that results say: each stands between two comments with its name."""

import re
from collections.abc import Callable, Mapping

import numpy as np

from pages import features, paper_ppo_vs_rpo, paper_time_limits
from pages.findings import claim
from pages.markdown import alternatives, paragraph, table
from pages.paper_runs import compare
from pages.pendulum_paper import SOLVED
from recording import Row

Results = Mapping[str, list[Row]]  # the runs of each file of results, by its name
PAGE = "benchmarks/README.md"


def render(text: str, results: Results) -> str:
    """README.md with its parts written anew.

    Args:
        text: README.md as it is.
        results: the runs of each file of results.

    Raises:
        Falsified: if the results contradict a sentence.
    """
    for name, part in PARTS.items():
        marks, written = rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end of {name} -->)", part(results)
        text, count = re.subn(
            marks, lambda found, new=written: f"{found[1]}\n{new}\n\n{found[2]}", text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"README.md has {count} parts {name!r}")
    return text


def findings(results: Results) -> str:
    """What the benchmarks found, in five sentences."""
    sentences = (_time_limits, _published, _elsewhere, _speed, _faults)
    return "\n".join(paragraph(f"- {sentence(results)}").replace("\n", "\n  ") for sentence in sentences)


def _time_limits(results: Results) -> str:
    finals = {run["label"]: run["summary"]["final_return"][0] for run in results["pendulum_paper"]}
    seeds = alternatives(str(len(returns)) for label, returns in finals.items() if label.startswith("normal"))
    ppo, rpo, right_ppo, right_rpo = (
        float(np.mean(finals[f"normal, {limit}, {method}"]))
        for limit in ("terminate", "bootstrap")
        for method in ("ppo", "rpo")
    )
    groups = paper_time_limits.PAGE.groups(results["paper-time-limits"])
    raw = paper_time_limits.on_pendulum(groups)[paper_time_limits.RAW]
    raw_ppo, raw_rpo = (raw[name].known.mean() for name in ("ppo", "rpo"))
    return claim(
        f"On Pendulum PPO fails ({ppo:,.0f}, where RPO reaches {rpo:,.0f}; {seeds} seeds) if a time limit counts as "
        f"termination, as in the published code; with the value bootstrapped there both solve it ({right_ppo:,.0f} "
        f"and {right_rpo:,.0f}), which closes {(right_ppo - ppo) / (rpo - ppo):.0%} of the gap "
        f"([table]({PAGE}#does-ppo-fail-on-pendulum)). With raw rewards and terminations RPO has no advantage: it "
        f"reaches {raw_rpo:,.0f}, and PPO {raw_ppo:,.0f} "
        f"([table]({PAGE}#how-much-of-rpos-advantage-comes-from-time-limits-that-count-as-terminations)).",
        ppo < SOLVED < min(rpo, right_ppo, right_rpo) and raw_rpo < SOLVED and not compare(raw, "rpo", "ppo").sign,
    )


def _published(results: Results) -> str:
    told = paper_ppo_vs_rpo.verdict_told(paper_ppo_vs_rpo.PAGE.groups(results["paper-ppo-vs-rpo"]))
    return (
        f"Under the published protocol RPO is {told}; with the difference of the mean returns and its 95% interval "
        f"([answers]({PAGE}#is-ppo-really-this-bad), "
        f"[table]({PAGE}#does-rpo-beat-ppo-under-the-published-protocol))."
    )


def _elsewhere(results: Results) -> str:
    finals = {run["label"]: run["summary"]["final_return"] for run in results["suites_paper"]}
    ppo, rpo = map(np.mean, finals["BipedalWalker-v3, terminate"])
    swingup = finals["PendulumSwingup-v1, terminate"]
    return claim(
        f"Elsewhere it does not win, or five seeds do not tell: after 2M steps PPO is ahead on BipedalWalker "
        f"({ppo:.0f} to {rpo:.0f}), and on DeepMind Control's PendulumSwingup the seeds of either method lie "
        f"{min(np.ptp(swingup, axis=1)):.0f} and more apart ([table]({PAGE}#does-rpo-beat-ppo-on-the-papers-suites)).",
        ppo > rpo and all(len(returns) == 5 for returns in swingup),
    )


def _speed(results: Results) -> str:
    (least, most), (gpu_least, gpu_most) = (_ratios(results[name]) for name in ("throughput", "throughput_gpu"))
    slower = [_seconds(run, "rpo_jax") / _seconds(run, "Rejax") for run in results["throughput_gpu"]]
    return claim(
        f"On two CPU cores whole training is {least:.1f} to {most:.1f} times as fast as Rejax's, least with wide "
        f"networks; on an H200 it is {gpu_least:.2f} to {gpu_most:.2f} times as fast as Rejax's, but its program takes "
        f"{min(slower):.1f} to {max(slower):.1f} times as long to compile (tables "
        f"[CPU]({PAGE}#how-fast-beside-other-libraries), [GPU]({PAGE}#how-fast-beside-other-libraries-on-a-gpu)).",
        least > 1 and min(slower) > 1 and _least_work(results["throughput"]) in ("pendulum-128", "hopper-256"),
    )


def _ratio(run: Row) -> float:
    return run["libraries"]["rpo_jax"]["steps_per_second"] / run["libraries"]["Rejax"]["steps_per_second"]


def _ratios(runs: list[Row]) -> tuple[float, float]:
    ratios = [_ratio(run) for run in runs]
    return min(ratios), max(ratios)


def _least_work(runs: list[Row]) -> str:
    return min(runs, key=_ratio)["work"]


def _seconds(run: Row, library: str) -> float:
    return run["libraries"][library]["compile_seconds"]


def _faults(results: Results) -> str:
    injected, survived = (sum(run[name] for run in results["faults"]) for name in ("injected", "survived"))
    return claim(
        f"Runs survived {survived} of {injected} injected faults, from `kill -9` and full disks to damaged files "
        f"([table]({PAGE}#what-survives)).",
        survived == injected,
    )


def speed(results: Results) -> str:
    """Steps per second beside other libraries."""
    runs = [*results["throughput"], *results["throughput_gpu"]]
    names = list(dict.fromkeys(name for run in runs for name in run["libraries"]))
    return table(["work", "on", *(f"{name}, steps/s" for name in names)], [_speed_row(run, names) for run in runs])


def _speed_row(run: Row, names: list[str]) -> list[str]:
    kind = run["machine"].partition("devices ")[2].partition(",")[0]
    cores = run["machine"].partition(" cores")[0]
    found = run["libraries"]
    rates = [f"{found[name]['steps_per_second']:,.0f}" if name in found else "" for name in names]
    return [run["work"], f"{cores} CPU cores" if kind == "cpu" else kind.removeprefix("NVIDIA "), *rates]


PARTS: dict[str, Callable[[Results], str]] = {
    "findings": findings,
    "features": lambda _: features.render_table(),
    "speed": speed,
}
