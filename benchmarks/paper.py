"""The paper's experiments, each as one command, in parts that one core does in well under an hour.

`python benchmarks/paper.py alpha` trains what that experiment's results lack; `--envs`, `--seeds` and `--timesteps`
give other scales, and `--full` is the paper's, for a large machine. `python benchmarks/paper.py --next` does the next
part of the standing list, with what its checkpoint holds of it. Ctrl-C or SIGTERM stops it within seconds; the same
command goes on. `experiments.py` has what is trained.
"""

import json
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from arguments import chosen
from density import density
from experiments import EXPERIMENTS, Part, Settings, hours, hours_of, num_runs, parts, standing
from recording import Row, add, records
from rpo_jax import Checkpoints, use_cpu_cores
from rpo_jax.settings.spec import make_spec
from study import record, train

CHECKPOINTS = Path(__file__).parent.parent / "runs" / "paper"


def main(
    experiments: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    envs: tuple[str, ...] = (),
    seeds: int | None = None,
    timesteps: int | None = None,
    full: bool = False,
    only_next: Annotated[bool, tyro.conf.arg(name="next")] = False,
    only_list: Annotated[bool, tyro.conf.arg(name="list")] = False,
) -> None:
    """Does the parts of experiments that `results/paper-*.json` do not hold yet.

    Args:
        experiments: names of experiments; the standing list of all if none.
        envs: environments, such as envpool/WalkerRun-v1; those of each experiment if none. Of the standing list, its
            parts on these.
        seeds: number of seeds of every setting.
        timesteps: number of steps of every run.
        full: the paper's tasks, 10 seeds and 8M steps, each call in one piece.
        only_next: do only the next part.
        only_list: print the parts, which of them are done, and how many hours the others take on one core.
    """
    use_cpu_cores()
    named = chosen("experiment", experiments, EXPERIMENTS)
    if experiments or seeds or timesteps or full:
        wanted = [part for name in named for part in parts(name, envs, seeds, timesteps, full)]
    else:
        wanted = [part for part in standing() if not envs or part.settings.get("env") in envs]
    done = {name: {row["label"] for row in records(f"paper-{name}")} for name in EXPERIMENTS}
    left = [part for part in wanted if part.label not in done[part.experiment]]
    if only_list:
        show(wanted, left)
        return
    for part in left[:1] if only_next else left:
        do(part)


def do(part: Part) -> None:
    """Trains a part, from its checkpoint if there is one, and records it; another experiment may have done the same."""
    Console(stderr=True).print(f"{part.experiment}: {part.label}")
    if part.settings:
        settings = {name: value(part.settings) if callable(value) else value for name, value in part.settings.items()}
        row = _recorded(settings) or (_published if "program" in settings else _trained)(part, settings)
    else:
        row = density()
    add(f"paper-{part.experiment}", row | {"label": part.label}, "label")


def _recorded(settings: Settings) -> Row | None:
    """What some experiment has recorded of the same settings."""
    wanted = json.loads(json.dumps(settings))
    rows = (row for name in EXPERIMENTS for row in records(f"paper-{name}"))
    return next((row for row in rows if row.get("call") == wanted), None)


def _trained(part: Part, settings: Settings) -> Row:
    spec = make_spec(**settings)
    checkpoints = Checkpoints(CHECKPOINTS / part.experiment / part.label.replace("/", "-").replace(" ", ""))
    result = train(spec, checkpoints, hint="the same command goes on")
    return record(part.label, spec, result, ("episode_return", "entropy")) | {"call": settings}


def _published(part: Part, settings: Settings) -> Row:
    """Trains by the published program, which takes minutes and keeps no checkpoint."""
    import published_program

    return {"call": settings} | published_program.record(
        settings["env"],
        settings["rpo_alpha"],
        range(settings["first_seed"], settings["first_seed"] + settings["num_seeds"]),
        settings["total_timesteps"],
    )


def show(wanted: list[Part], left: list[Part]) -> None:
    """Prints the parts."""
    for part in wanted:
        state = f"{hours(part):4.1f} h" if part in left else "  done"
        print(f"{state}  {part.experiment}: {part.label} ({num_runs(part)} runs)")
    print(f"{len(left)} of {len(wanted)} parts are left: {hours_of(left):.0f} hours of one core")


if __name__ == "__main__":
    tyro.cli(main)
