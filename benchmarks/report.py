"""Writes README.md of this folder, and its pictures, from what the other scripts left in results/."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from study import RESULTS

HEADER = """# Benchmarks

Each script asks one question and leaves its answer in `results/`; a study that was cut goes on with the same command.
This page is written by `python benchmarks/report.py`. Returns are means over the last 5% of updates, of episodes played
with the sampled action while training, unless said otherwise. The studies of learning shared the machine with each
other and with other work, so their times are upper bounds; "How long does a new user wait?" and "What does a sweep
cost?" ran alone.
"""


def main() -> None:
    """Writes the page and the pictures."""
    sections = [HEADER]
    for name, write in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            content = json.loads(path.read_text())
            source = f"`{content['command']}`, on {content['machine']}.\n"
            sections.append(f"{write(content['runs']).rstrip()}\n\n{source}")
    (RESULTS.parent / "README.md").write_text("\n".join(sections))


def pendulum_paper(runs: list[dict[str, Any]]) -> str:
    """PPO and RPO under both treatments of the time limit, three heads."""
    rows = []
    order = ("normal", "laplace", "gumbel", "terminate", "bootstrap", "ppo", "rpo")
    for run in sorted(runs, key=lambda run: [order.index(part) for part in run["label"].split(", ")]):
        returns, entropies = run["summary"]["final_return"][0], run["summary"]["final_entropy"][0]
        head, time_limit, variant = run["label"].split(", ")
        rows.append(
            [
                head,
                time_limit,
                variant.upper(),
                f"{np.mean(returns):.0f}",
                f"{min(returns):.0f} ... {max(returns):.0f}",
                f"{np.mean(run['first_entropy'][0]):.2f} -> {np.mean(entropies):.2f}",
                _seconds(run["summary"]["train_seconds"]),
            ]
        )
    _draw_pendulum(runs, RESULTS / "pendulum_paper.png")
    return f"""## Does PPO fail on Pendulum?

Preset `paper`, Pendulum-v1, 1M steps, 5 seeds. As published (a time limit ends the task) PPO with a normal head fails
and RPO does not. With the value bootstrapped at the time limit, both solve it: that treatment, and not the method,
explains most of the published difference. With a Gumbel head neither gets there when bootstrapped, and RPO ends
below PPO: its entropy grows until the noise of its actions costs more than it finds.

![curves](results/pendulum_paper.png)

{_table(["head", "time limit", "method", "return: mean", "worst ... best seed", "entropy: start -> end", "time"], rows)}
"""


def pendulum_seed_notes(runs: list[dict[str, Any]]) -> str:
    """The notes' experiment over 10 seeds."""
    rows = []
    for run in runs:
        for index, setting in enumerate(run["settings_labels"]):
            final, first = run["final_round_reward"][index], run["first_round_reward"][index]
            stuck = [value for value in final if value <= -3000]
            rows.append(
                [
                    run["label"],
                    "PPO (alpha 0)" if setting.endswith("=0") else "RPO (alpha 0.3)",
                    f"{np.mean(first):,.0f}",
                    f"{np.median(final):,.0f}",
                    f"{min(final):,.0f} ... {max(final):,.0f}",
                    f"{len(final) - len(stuck)} of {len(final)}",
                ]
            )
    header = [
        "the value's observations",
        "method",
        "first round",
        "end: median",
        "worst ... best seed",
        "seeds that end above -3000",
    ]
    return f"""## The seed notes' experiment, over seeds

Preset `seed-notes`, Pendulum-v1, 600k steps, 10 seeds: sum of rewards over a round of 2048 steps. RPO perturbs in
rollout and update. The notes divide what the policy sees by [1, 1, 8], and leave what the value network sees.

{_table(header, rows)}
"""


def first_run(runs: list[dict[str, Any]]) -> str:
    """Wall time of the bare command."""
    rows = [
        [
            run["run"],
            f"{run['wall_seconds']:.1f} s",
            _seconds(run["summary"]["compile_seconds"]),
            _seconds(run["summary"]["train_seconds"]),
            f"{run['summary']['env_steps_per_second']:,.0f}",
            ", ".join(f"{value:.0f}" for value in run["summary"]["final_return"][0]),
        ]
        for run in runs
    ]
    header = ["run", "wall time, all included", "compilation", "training", "steps/s", "final return of the 8 seeds"]
    return f"""## How long does a new user wait?

Bare `rpo-jax train`: RPO, 8 seeds, Pendulum-v1, preset `fast`. The first run starts with an empty cache of compiled
programs.

{_table(header, rows)}
"""


def sweep_speed(runs: list[dict[str, Any]]) -> str:
    """Time of a sweep against one run."""
    one = runs[0]["summary"]["train_seconds"]
    rows = [
        [
            run["label"],
            str(run["runs"]),
            _seconds(run["summary"]["compile_seconds"]),
            _seconds(run["summary"]["train_seconds"]),
            f"{run['summary']['train_seconds'] / one:.1f}",
            f"{run['summary']['env_steps_per_second']:,.0f}",
        ]
        for run in runs
    ]
    return f"""## What does a sweep cost?

Pendulum-v1, preset `fast`, each row one compiled call.

{_table(["call", "runs", "compilation", "training", "times one run", "steps/s over all runs"], rows)}
"""


def throughput(runs: list[dict[str, Any]]) -> str:
    """Speed of whole training beside other libraries."""
    rows, notes = [], {}
    for run in runs:
        ours = run["libraries"]["rpo_jax"]["steps_per_second"]
        sizes = (
            f"{run['seeds']} x {run['num_envs']} x {run['num_steps']}, {run['num_epochs']}, {run['num_minibatches']}"
        )
        for library, result in run["libraries"].items():
            notes[library] = result["differs"]
            rows.append(
                [
                    run["work"],
                    sizes,
                    library,
                    f"{result['steps_per_second']:,.0f}",
                    f"{ours / result['steps_per_second']:.2f}",
                    _seconds(result["first_call_seconds"]),
                    f"{result['peak_bytes'] / 2**30:.1f} GiB",
                ]
            )
    header = ["work", "seeds x envs x steps, epochs, minibatches", "library", "steps/s", "rpo_jax is faster by"]
    differences = "\n".join(f"- {library} {note}." for library, note in notes.items() if note)
    return f"""## How fast beside other libraries?

Whole training, 64-64 tanh networks, observation and reward normalisation; the median of five calls, libraries taking
turns. The first call includes compilation. rpo_jax shuffles whole environments, except in the paper's work; Brax works
run on backend `spring`. Where the work is not the same:

{differences}

{_table([*header, "first call", "peak memory"], rows)}
"""


def brax_fast(runs: list[dict[str, Any]]) -> str:
    """Learning on Brax."""
    figure = Figure(figsize=(13, 3.2), layout="constrained")
    rows = []
    for axes, run in zip(figure.subplots(1, len(runs), squeeze=False)[0], runs, strict=True):
        curves = np.asarray(run["curves"]["episode_return"], float)[0]
        known = ~np.isnan(curves).any(0)
        _draw(axes, np.asarray(run["steps"]), curves, "C0", None)
        axes.set_title(run["label"])
        axes.set_xlabel("steps")
        rows.append(
            [
                run["label"],
                f"{run['summary']['total_timesteps']:,}",
                f"{np.mean(curves[:, known][:, :3]):.0f}",
                f"{np.mean(run['summary']['final_return'][0]):.0f}",
                ", ".join(f"{value:.0f}" for value in run["summary"]["final_return"][0]),
                f"{run['summary']['settings'][0]['rpo_alpha']:g}",
                f"{run['summary']['env_steps_per_second']:,.0f}",
                _seconds(run["summary"]["compile_seconds"]),
            ]
        )
    figure.savefig(RESULTS / "brax_fast.png", dpi=100)
    header = ["task", "steps a seed", "return: start", "end: mean", "each seed", "alpha", "steps/s", "compilation"]
    return f"""## Brax

Preset `fast`, backend `spring`, RPO, 3 seeds. The greatest return of inverted_pendulum is 1000. Episodes last up to
1000 steps and environments start together, so long episodes are seen to end at few points.

![curves](results/brax_fast.png)

{_table(header, rows)}
"""


def _draw_pendulum(runs: list[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = dict(
        zip([(k, t) for k in ("return", "entropy") for t in ("terminate", "bootstrap")], range(4), strict=True)
    )
    axes = figure.subplots(1, 4)
    for run in runs:
        head, time_limit, variant = run["label"].split(", ")
        if head != "normal":
            continue
        for kind, name in (("return", "episode_return"), ("entropy", "entropy")):
            panel = axes[panels[kind, time_limit]]
            curves = np.asarray(run["curves"][name], float)[0]
            _draw(panel, np.asarray(run["steps"]), curves, "C0" if variant == "rpo" else "C1", variant.upper())
            panel.set_title(f"{kind}, time limit: {time_limit}", fontsize=10)
            panel.set_xlabel("steps")
    axes[0].legend()
    figure.savefig(path, dpi=100)


def _draw(axes: Any, steps: np.ndarray, curves: np.ndarray, color: str, label: str | None) -> None:
    for row in curves:
        axes.plot(steps[~np.isnan(row)], row[~np.isnan(row)], color=color, linewidth=0.8, alpha=0.4)
    known = ~np.isnan(curves).any(0)
    axes.plot(steps[known], curves[:, known].mean(0), color=color, linewidth=2.2, label=label)
    axes.grid(alpha=0.3)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


SECTIONS = {
    "pendulum_paper": pendulum_paper,
    "pendulum_seed_notes": pendulum_seed_notes,
    "first_run": first_run,
    "brax_fast": brax_fast,
    "sweep_speed": sweep_speed,
    "throughput": throughput,
}

if __name__ == "__main__":
    main()
