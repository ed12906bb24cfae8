"""Writes README.md of this folder, and its pictures, from what the other scripts left in results/."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from known_faults import table as known_faults_table
from study import RESULTS
from throughput import LIBRARIES

HEADER = """# Benchmarks

Each script asks one question and leaves its answer in `results/`; a study that was cut goes on with the same command.
This page is written by `python benchmarks/report.py`. Returns are means over the last 5% of updates, of episodes played
with the sampled action while training, unless said otherwise. The studies of learning shared the machine with each
other and with other work, so their times are upper bounds; "How long does a new user wait?" and "What does a sweep
cost?" ran alone.
"""


def main() -> None:
    """Writes the page and the pictures."""
    (RESULTS.parent / "README.md").write_text(page())


def page() -> str:
    """The page; its pictures are drawn on the way."""
    sections = [HEADER]
    for name, write in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            content = json.loads(path.read_text())
            source = f"`{content['command']}`, on {content['machine']}.\n"
            sections.append(f"{write(content['runs']).rstrip()}\n\n{source}")
    return "\n".join(sections)


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


def throughput(runs: list[dict[str, Any]], where: str = "", more: str = "") -> str:
    """Speed of whole training beside other libraries."""
    rows, notes = [], {}
    for run in runs:
        ours = run["libraries"].get("rpo_jax", {}).get("steps_per_second", np.nan)
        sizes = (
            f"{run['seeds']} x {run['num_envs']} x {run['num_steps']}, {run['num_epochs']}, {run['num_minibatches']}"
        )
        for library, result in run["libraries"].items():
            versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
            notes[library] = f"{library} ({versions}) {LIBRARIES[library].differs}".rstrip()
            rows.append(
                [
                    run["work"],
                    sizes,
                    library,
                    f"{result['timesteps']:,}",
                    f"{result['steps_per_second']:,.0f}",
                    f"{ours / result['steps_per_second']:.2f}",
                    _seconds(result["first_call_seconds"]),
                    _seconds(result["compile_seconds"]),
                    f"{result.get('peak_device_bytes', result['peak_bytes']) / 2**30:.1f} GiB",
                ]
            )
    header = [
        "work",
        "seeds x envs x steps, epochs, minibatches",
        "library",
        "steps a call",
        "steps/s",
        "rpo_jax is faster by",
        "first call",
        "of it start and compilation",
        "peak memory",
    ]
    differences = "\n".join(f"- {note}." for note in notes.values())
    return f"""## How fast beside other libraries{where}?

Whole training, 64-64 tanh networks, observation and reward normalisation; the median of {_calls(runs)} calls, libraries
taking turns. The first call runs from the start of the process, imports included, to the end of its first training;
less a median call, that is start and compilation. rpo_jax shuffles whole environments, except in the paper's work; Brax
works run on backend `spring`. {more}What was run, and where its work is not the same:

{differences}

{_table(header, rows)}
{_sources(runs)}"""


def gpu_flags(runs: list[dict[str, Any]]) -> str:
    """What XLA's options for command buffers change."""
    rows = [[run["work"], f"`{run['flags'] or 'none'}`", f"{run['steps_per_second']:,.0f}"] for run in runs]
    return f"""## Which of XLA's options make a GPU faster?

A loop's kernels are started one by one by the host, or all at once where XLA records them in a command buffer, which it
does by itself. Processes took turns.

{_table(["work", "options", "steps/s"], rows)}
"""


def gpu_kernels(runs: list[dict[str, Any]]) -> str:
    """What training launches."""
    rows = [
        [
            run["work"],
            f"{run['launches'] / run['rounds']:,.0f}",
            f"{1e3 * run['busy_seconds'] / run['rounds']:.1f} ms",
            f"{1e3 * run['seconds'] / run['rounds']:.1f} ms",
        ]
        for run in runs
    ]
    return f"""## What does a round of training launch on a GPU?

By JAX's profiler, under which XLA records no command buffers: the gaps between kernels are wider, and copies slower,
than they are otherwise. `results/gpu_kernels.json` names the longest kernels.

{_table(["work", "kernels a round", "the GPU is busy", "of"], rows)}
"""


def _calls(runs: list[dict[str, Any]]) -> str:
    calls = {len(result["seconds"]) for run in runs for result in run["libraries"].values()}
    return " or ".join(str(count) for count in sorted(calls))


def _sources(runs: list[dict[str, Any]]) -> str:
    """Which work was measured by what command where, if not all on one machine."""
    lines = [f"- {run['work']}: `{run['command']}`, on {run['machine']}" for run in runs]
    return "\n".join(["", *lines, ""]) if len({run["machine"] for run in runs}) > 1 else ""


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

Preset `fast`, backend `spring`, RPO, 8 seeds. The greatest return of inverted_pendulum is 1000. Episodes last up to
1000 steps and environments start together, so long episodes are seen to end at few points.

![curves](results/brax_fast.png)

{_table(header, rows)}
"""


def scaling(runs: list[dict[str, Any]], picture: str = "scaling.png", where: str = "") -> str:
    """Speed and memory over environments and seeds, and the stages of an iteration."""
    points = [run for run in runs if run["part"] != "stages"]
    _draw_scaling(points, RESULTS / picture)
    rows = [
        [
            run["env"],
            f"{run['num_envs']:,}",
            f"{run['num_seeds']:,}",
            f"{run['steps_per_second']:,}" if "bytes" in run else "memory ended",
            _memory(run["bytes"]) if "bytes" in run else "",
        ]
        for run in points
    ]
    parts = ("iteration", "rollout", "environment steps", "advantages", "update")
    stages = [
        [run["work"], f"{run['steps']:,}", *(f"{run['milliseconds'][part]:,.1f}" for part in parts)]
        for run in runs
        if run["part"] == "stages"
    ]
    header = ["work", "steps", "iteration, ms", "rollout", "the environments' steps in it", "advantages", "update"]
    return f"""## How do speed and memory grow{where}?

Whole training by `sweep`: 32 steps, 4 epochs, 8 minibatches of whole environments, 64-64 networks; the median of three
measurements of a second or more, compilation apart. Memory is what XLA says that the compiled program holds on all
devices together: arguments, results and everything between.

![speed and memory](results/{picture})

{_table(["task", "environments of a seed", "seeds", "steps/s", "memory"], rows)}

One iteration of one run on one device. Each stage is compiled and timed by itself, so stages need not add up to the
whole.

{_table(header, stages)}
"""


def roofline(runs: list[dict[str, Any]], where: str = "") -> str:
    """Training against the limit of the machine."""
    rows, rates = [], []
    for run in runs:
        rows.append(
            [
                run["work"],
                f"{run['flops_per_step']:,}",
                f"{run['stepping_by_vmap']:,}",
                f"{run['stepping_in_one_block']:,}",
                f"{run['stepping_in_blocks']:,} ({run['blocks']})" if run["blocks"] > 1 else "the same",
                f"{run['products']:,}",
                f"{run['limit']:,}",
                f"{run['training']:,}",
                f"{run['training'] / run['limit']:.0%}",
                f"{run['training'] / run['stepping_by_vmap']:.0%}",
                f"{run['training'] / max(run['stepping_in_one_block'], run['stepping_in_blocks']):.0%}",
            ]
        )
        flops = run["flops_per_second"]
        shapes = (f"{flops[name] / 1e9:,.1f}" for name in ("of_a_round", "own", "large"))
        rates.append([run["work"], f"{run['rows']:,}", *shapes])
    header = [
        "work",
        "products, flop a step",
        "stepping alone, by `jax.vmap`: steps/s",
        "ours, in one block",
        "in blocks (how many)",
        "products alone: steps/s",
        "limit: steps/s",
        "training: steps/s",
        "of the limit",
        "of stepping by `jax.vmap`",
        "of stepping, ours",
    ]
    return f"""## How near is training to the machine's limit{where}?

Stepping the environments and the matrix products cannot be avoided; each was measured alone on all devices, and the
limit is the speed if there were nothing else: `1 / (1 / stepping + 1 / products)`. Stepping is what `jax.vmap` makes of
the suite's own step, and ours, which keeps the environments on the last axis; the limit takes the
fastest. Products are those of a round of training at its own shapes, without activations, biases, loss or optimiser:
forward, and in learning the gradients of weights and of layers' inputs, the observation excepted. Medians of five
measurements, which took turns with training.

The aim was that hopper trains at 70% of the speed of stepping alone. Where stepping is so fast that the products take
as long, the limit itself is half of it.

{_table(header, rows)}

Rates of products, all devices together, in Gflop/s: those of a round, `[rows, 64] x [64, 64]` with the rows of a
minibatch on a device, and two square matrices of 2048.

{_table(["work", "rows", "of a round", "[rows, 64] x [64, 64]", "2048 x 2048"], rates)}
"""


def shuffle(runs: list[dict[str, Any]]) -> str:
    """Learning from minibatches of samples and of whole environments."""
    finals = {run["label"]: np.asarray(run["summary"]["final_return"][0]) for run in runs}
    rows = []
    for run in runs:
        task, way = run["label"].split(", ")
        returns = finals[run["label"]]
        difference = ""
        if way == "environments" and f"{task}, samples" in finals:
            other = finals[f"{task}, samples"]
            error = np.hypot(*(np.std(x, ddof=1) / np.sqrt(len(x)) for x in (returns, other)))
            difference = f"{returns.mean() - other.mean():+.0f} +- {error:.0f}"
        rows.append(
            [
                task,
                way,
                f"{len(returns)} x {run['summary']['total_timesteps']:,}",
                f"{returns.mean():.0f}",
                f"{returns.min():.0f} ... {returns.max():.0f}",
                difference,
                _seconds(run["summary"]["train_seconds"]),
            ]
        )
    header = ["task", "shuffle", "seeds x steps", "return: mean", "worst ... best seed", "against samples", "training"]
    return f"""## Does the faster shuffle learn worse?

`shuffle="samples"` permutes all samples of a round; `"environments"` moves whole columns, so that a minibatch holds all
steps of a few environments. Preset `fast` with either, RPO. The difference of the means is given with its standard
error over seeds.

{_table(header, rows)}
"""


def suites_paper(runs: list[dict[str, Any]]) -> str:
    """PPO and RPO on the suites of the paper, beside what was published."""
    with (RESULTS.parent / "published.csv").open() as lines:
        published = list(csv.DictReader(lines))
    rows = []
    for run in runs:
        task, time_limit = run["label"].split(", ")
        for index, method in enumerate(("ppo", "rpo")):
            returns = run["summary"]["final_return"][index]
            of_task = [row for row in published if row["task"] == task and time_limit == "terminate"]
            rows.append(
                [
                    task,
                    time_limit,
                    method.upper(),
                    f"{np.mean(returns):,.0f} +- {np.std(returns, ddof=1):,.0f}",
                    ", ".join(f"{value:,.0f}" for value in returns),
                    "; ".join(
                        f"{float(row[f'{method}_mean']):,.0f} +- {float(row[f'{method}_std']):,.0f} ({row['source']})"
                        for row in of_task
                    ),
                    _seconds(run["summary"]["train_seconds"]),
                ]
            )
    _draw_suites(runs, RESULTS / "suites_paper.png")
    steps = " or ".join(sorted({f"{run['summary']['total_timesteps']:,}" for run in runs}))
    header = ["task", "time limit", "method", "return", "each seed", "published", "training of both"]
    return f"""## Does RPO beat PPO on the paper's suites?

Preset `paper`, EnvPool's tasks, {steps} steps a seed, 5 seeds: mean and standard deviation over seeds. Published are 8M
steps and 10 seeds: "Table 1" of the paper (arXiv 2212.07536), and CleanRL's documentation of RPO. PPO is RPO with alpha
0, trained in the same call.

RPO wins clearly on Pendulum where time limits are terminations, and there only: with bootstrapping PPO solves it too.
On BipedalWalker PPO ends above RPO. On the tasks of DeepMind Control seeds differ more than methods do.

![curves](results/suites_paper.png)

{_table(header, rows)}
"""


def playground_gpu(runs: list[dict[str, Any]]) -> str:
    """PPO and RPO on Playground."""
    _draw_suites(runs, RESULTS / "playground_gpu.png")
    rows = []
    for run in runs:
        for method, returns in zip(("PPO", "RPO"), run["summary"]["final_return"], strict=True):
            rows.append(
                [
                    run["label"],
                    method,
                    f"{run['summary']['total_timesteps']:,}",
                    f"{np.mean(returns):,.0f} +- {np.std(returns, ddof=1):,.0f}",
                    ", ".join(f"{value:,.0f}" for value in returns),
                    _seconds(run["summary"]["compile_seconds"]),
                    _seconds(run["summary"]["train_seconds"]),
                    f"{run['summary']['env_steps_per_second']:,.0f}",
                ]
            )
    header = ["task", "method", "steps a seed", "return", "each seed", "compilation", "training of both", "steps/s"]
    return f"""## Thousands of environments on a GPU

MuJoCo Playground, preset `fast`, 5 seeds, PPO (RPO with alpha 0) and RPO in one call: mean and standard deviation over
seeds.

![curves](results/playground_gpu.png)

{_table(header, rows)}
"""


def suites_transfer(runs: list[dict[str, Any]]) -> str:
    """Policies trained in one suite and scored in others."""
    rows = []
    for run in runs:
        own, *_ = run["returns"]
        first = np.asarray(run["returns"][own])
        for suite, scores in run["returns"].items():
            means, errors = np.asarray(scores).T
            differences, errors = means - first[:, 0], np.hypot(errors, first[:, 1])
            rows.append(
                [
                    suite,
                    f"{means.mean():.1f}",
                    ", ".join(f"{mean:.1f}" for mean in means),
                    *(
                        ["", ""]
                        if suite == own
                        else [
                            ", ".join(f"{x:+.1f} +- {e:.1f}" for x, e in zip(differences, errors, strict=True)),
                            f"{np.mean((differences / errors) ** 2):.1f}",
                        ]
                    ),
                ]
            )
    header = ["suite", "return: mean", "each policy", "against the suite it was trained in", "mean square of z"]
    return f"""## Is a task the same in every suite?

Policies trained in the first suite of each task play 128 episodes with their mean actions in all. Differences are given
with their standard errors over episodes; z is the one over the other, and its mean square is near 1 where suites differ
by nothing but chance.

Pendulum is the same task in all three. CartpoleBalance is not quite: MJX and MuJoCo part by a few returns in a hundred,
one way or the other with the policy.

{_table(header, rows)}
"""


def envpool_speed(runs: list[dict[str, Any]]) -> str:
    """Training through EnvPool beside EnvPool alone."""
    rows = [
        [
            run["task"],
            f"{run['seeds']} x {run['num_envs']}",
            f"{run['num_steps']}, {run['num_epochs']}, {run['num_minibatches']}",
            f"{run['stepping_alone']:,}",
            f"{run['training']:,}",
            f"{run['training'] / run['stepping_alone']:.0%}",
        ]
        for run in runs
    ]
    header = [
        "task",
        "seeds x environments",
        "steps, epochs, minibatches",
        "EnvPool alone: steps/s",
        "training",
        "of it",
    ]
    return f"""## What does training through EnvPool cost?

Whole training beside one pool of as many environments that a Python loop steps with random actions. Training includes
the opening of its pools.

{_table(header, rows)}
"""


def segments(runs: list[dict[str, Any]]) -> str:
    """What the host's loop costs."""
    rows = [
        [
            f"{run['env']}, {run['seeds']} seeds x {run['timesteps']:,}",
            _seconds(run["sweep"]),
            _seconds(run["fit"]),
            _seconds(run["checkpoints"]),
            f"{(run['fit'] + run['checkpoints']) / run['sweep'] - 1:+.1%}",
        ]
        for run in runs
    ]
    header = ["work", "`sweep`", "`fit`: training, with progress", "checkpoints", "more in all"]
    return f"""## What do segments, progress and checkpoints cost?

{_table(header, rows)}
"""


def faults(runs: list[dict[str, Any]]) -> str:
    """What survives."""
    rows = [
        [
            run["fault"],
            str(run["injected"]),
            str(run["survived"]),
            str(run["refused"]),
            str(run["most_lost"]),
            f"{run['mean_lost']:.1f}",
        ]
        for run in runs
    ]
    header = ["fault", "injected", "survived", "of them by an error that says so", "updates lost: most", "mean"]
    return f"""## What survives?

{sum(run["injected"] for run in runs)} faults at random moments, in runs of 300 updates with checkpoints every half
second (by default it is a minute). Survived means that what was resumed equals an undisturbed run bit for bit; for a
damaged file also that it is refused by an error that says so. For a simulator's NaN it means that each costs an episode
and is counted; for a learning rate of 1e6, that the other runs of the sweep are bit for bit what they are with a sane
one in its place (a sweep of another size differs by rounding); for an environment on the host, that what was done
before is kept and gone on with. Updates lost are those between the checkpoint that was gone on from and the stop.

{_table(header, rows)}
"""


def correctness(runs: list[dict[str, Any]]) -> str:
    """Environments with and without fused kernels."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for run in runs:
        suite = run["env"].partition("/")[0]
        suite += f", {run['backend']}" if suite == "brax" else ""
        groups.setdefault((run["jaxlib"], suite, f"{run['num_envs']:,}"), []).append(run)
    rows = []
    for (release, suite, num_envs), group in sorted(groups.items()):
        failed = [f"{run['env'].partition('/')[2]} {run['outcome']}" for run in group if run["outcome"] != "right"]
        found = [way for run in group for way in run.get("differences", {}).values()]
        largest = [
            f"{max((way[name][index] for way in found), default=float('nan')):.0e}"
            for index in (0, 1, 3, 4)
            for name in ("steps", "nudged")
        ]
        rows.append(
            [release, suite, num_envs, f"{len(group) - len(failed)} of {len(group)}", *largest, "; ".join(failed)]
        )
    measures = ("one step", "ten steps", "rows off", "most of all")
    header = ["jaxlib", "suite", "environments", "right", *(name for x in measures for name in (x, "nudged")), "wrong"]
    return f"""## Do environments step the same with and without XLA's fused kernels?

100 steps of random actions, as plain `jax.jit` and as rpo_jax compile them, against a program without XLA's library
of fused kernels, each from the states that the latter reached every ten steps. Differences are relative to 1 + |value|:
of each environment the median over ten segments, and of these the greatest; then the share of all rows that are off by
more than 0.1, and the greatest difference of any row. Contacts make much of little, so beside each stands what the
latter program makes of its own states when they are nudged by a millionth. Allowed are ten times that (of the medians
0.1 at most, of any row 10 at least), and twice the share and 0.2%. What both programs have wrong is not seen.

{_table(header, rows)}
"""


def check(runs: list[dict[str, Any]]) -> str:
    """What the command finds."""
    parts = [
        f"jaxlib {run['jaxlib']}, exit code {run['exit_code']}, {run['seconds']:.0f} s:\n\n```\n"
        + "\n".join(run["output"])
        + "\n```"
        for run in sorted(runs, key=lambda run: run["jaxlib"])
    ]
    return "\n\n".join(["## What does `rpo-jax check` find?", *parts])


def known_faults(runs: list[dict[str, Any]]) -> str:
    """Reports of faults, tried here."""
    return f"""## Which known faults of JAX does this machine meet?

Faults that were reported of JAX and XLA, each in small, tried on this CPU with every version since 0.10.0. That those
of GPUs are right here says nothing of a GPU. 0.10.2, 0.11.0 and 0.11.1 are shut out in `pyproject.toml`.

{_table(*known_faults_table(runs))}
"""


def batching(runs: list[dict[str, Any]]) -> str:
    """The batch last or first: speed, and whether values are the same."""
    speed = [run for run in runs if run["part"] == "speed"]
    rows = []
    for run in speed:
        last, first = (run["microseconds"][name] for name in ("last", "first"))
        quartiles = [" ... ".join(f"{x:,.0f}" for x in run["quartiles"][name]) for name in ("last", "first")]
        compiling = [_seconds(run["compile_seconds"][name]) for name in ("last", "first")]
        sizes = [run["env"], f"{run['num_envs']:,}"]
        rows.append(
            [*sizes, f"{last:,.0f}", quartiles[0], f"{first:,.0f}", quartiles[1], f"{first / last:.2f}", *compiling]
        )
    header = [
        "environment",
        "environments",
        "last, us a step of all",
        "quartiles",
        "first (`jax.vmap`)",
        "quartiles",
        "first / last",
        "compilation: last",
        "first",
    ]
    values = [[run["env"], f"{run['step']:.1e}", f"{run['nudged']:.1e}"] for run in runs if run["part"] == "values"]
    return f"""## Is a simulator faster with the batch last?

`vectorize(batching="last")` keeps the environments on the last axis of every array, "first" is `jax.vmap`. Random
actions on one device; medians and quartiles of five measurements that took turns, on a CPU of the processor's time,
for the machine was busy. Compilation, which is wall time, suffered from that.

{_table(header, rows)}

Whether they compute the same: one step of 3 environments from the same reset, compiled without optimisation. The
greatest |x - y| / (1 + |y|) of all of state, observations and rewards; beside it, what a change of the state by a
millionth makes. The table is not of all environments yet: the command goes on with the rest.

{_table(["environment", "last from first", "nudged"], values)}
"""


def _draw_suites(runs: list[dict[str, Any]], path: Path) -> None:
    columns = 4
    figure = Figure(figsize=(13, 3 * -(-len(runs) // columns)), layout="constrained")
    panels = list(figure.subplots(-(-len(runs) // columns), columns, squeeze=False).flat)
    for axes, run in zip(panels, runs, strict=False):
        for index, (method, color) in enumerate((("PPO", "C1"), ("RPO", "C0"))):
            curves = np.asarray(run["curves"]["episode_return"], float)[index]
            _draw(axes, np.asarray(run["steps"]), curves, color, method)
        axes.set_title(run["label"], fontsize=10)
        axes.set_xlabel("steps")
    for axes in panels[len(runs) :]:
        axes.set_axis_off()
    figure.axes[0].legend()
    figure.savefig(path, dpi=100)


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


def _draw_scaling(points: list[dict[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    columns = (("environments", "num_envs", "environments"), ("seeds", "num_seeds", "seeds"))
    for column, (part, count, label) in enumerate(columns):
        own = [run for run in points if run["part"] == part]
        for env in dict.fromkeys(run["env"] for run in own):
            done = [run for run in own if run["env"] == env and "bytes" in run]
            counts = [run[count] for run in done]
            axes[0, column].plot(counts, [run["steps_per_second"] for run in done], "o-", label=env)
            axes[1, column].plot(counts, [run["bytes"] / 2**20 for run in done], "o-", label=env)
        for run in own:
            if "bytes" not in run:
                axes[1, column].axvline(run[count], color="k", linestyle=":")
                middle = axes[1, column].get_xaxis_transform()  # height as a fraction of the panel's
                axes[1, column].text(
                    run[count], 0.5, "memory ended", transform=middle, rotation=90, ha="right", va="center"
                )
        fixed = sorted({f"{run['num_envs']:,} environments each" for run in own}) if part == "seeds" else ["one seed"]
        axes[0, column].set_title(", ".join(fixed), fontsize=10)
        axes[1, column].set_xlabel(label)
    axes[0, 0].set_ylabel("steps/s")
    axes[1, 0].set_ylabel("memory, MiB")
    for panel in axes.flat:
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.grid(alpha=0.3)
    axes[1, 0].legend()
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


def _memory(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"


SECTIONS = {
    "pendulum_paper": pendulum_paper,
    "pendulum_seed_notes": pendulum_seed_notes,
    "first_run": first_run,
    "brax_fast": brax_fast,
    "sweep_speed": sweep_speed,
    "throughput": throughput,
    "throughput_gpu": partial(
        throughput,
        where=" on a GPU",
        more="Processes compiled side by side, which makes first calls longer; memory is the GPU's. ",
    ),
    "gpu_flags": gpu_flags,
    "gpu_kernels": gpu_kernels,
    "scaling": scaling,
    "scaling_gpu": partial(scaling, picture="scaling_gpu.png", where=" on a GPU"),
    "roofline": roofline,
    "roofline_gpu": partial(roofline, where=" on a GPU"),
    "batching": batching,
    "shuffle": shuffle,
    "suites_paper": suites_paper,
    "suites_transfer": suites_transfer,
    "envpool_speed": envpool_speed,
    "playground_gpu": playground_gpu,
    "segments": segments,
    "faults": faults,
    "check": check,
    "correctness": correctness,
    "known_faults": known_faults,
}

if __name__ == "__main__":
    main()
