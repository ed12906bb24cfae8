"""The paper's experiments, each as one command, in parts that one core does in well under an hour.

`python benchmarks/paper.py alpha` trains what that experiment's results lack; `--envs`, `--seeds` and `--timesteps`
give other scales, and `--full` is the paper's, for a large machine. `python benchmarks/paper.py --next` does the next
part of the standing list, with what its checkpoint holds of it. Ctrl-C or SIGTERM stops it within seconds; the same
command goes on. Several processes at once do different parts. `experiments.py` has what is trained.
"""

import hashlib
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from arguments import chosen
from density import density
from experiments import EXPERIMENTS, PUBLISHED_PROGRAM, Part, Settings, call_of, hours_of, num_runs, parts, standing
from noise_floor import NEEDED
from recording import Row, add, records
from rpo_jax import Checkpoints, use_cpu_cores
from rpo_jax.errors import SettingsError
from rpo_jax.runs.ownership import InUseError, lock_folder
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
    _check(wanted)
    if only_list:
        show(wanted)
        return
    share(wanted)
    while left := left_of(wanted):
        if not any(do(part) for part in left if not needed(part, left)):
            sys.exit(f"other processes are doing the {len(left)} parts that are left, or what they depend on")
        share(wanted)
        if only_next:
            return


def _check(wanted: list[Part]) -> None:
    """Ends the program if something cannot be trained, before hours are spent on the rest."""
    for part in wanted:
        if "program" in part.settings and not part.settings["env"].startswith("gymnax/"):
            sys.exit(f"{part.experiment}: the {PUBLISHED_PROGRAM} has gymnax's tasks only, not {part.settings['env']}")


def left_of(wanted: list[Part]) -> list[Part]:
    """The parts that were not recorded."""
    done = {name: {row["label"] for row in records(f"paper-{name}")} for name in EXPERIMENTS}
    return [part for part in wanted if part.label not in done[part.experiment]]


def recorded() -> list[Row]:
    """The rows of all experiments that say what their call was."""
    return [row for name in EXPERIMENTS for row in records(f"paper-{name}") if "call" in row]


def share(wanted: list[Part]) -> None:
    """Records the parts whose call another experiment has recorded, since the same call is trained once."""
    rows = {call_of(row["call"]): row for row in recorded()}
    for part in left_of(wanted):
        if row := rows.get(call_of(part.settings)):
            add(f"paper-{part.experiment}", row | {"label": part.label}, "label")


def needed(part: Part, some: list[Part]) -> list[Part]:
    """Those of some parts whose results settings of this one are computed from."""
    values = list(part.settings.values())
    calls = {call for function, calls in NEEDED.items() if function in values for call in calls}
    return [
        other
        for other in some
        if (other.experiment, other.settings.get("env")) == (part.experiment, part.settings.get("env"))
        and any(f", {call}," in f"{other.label}," for call in calls)
    ]


def do(part: Part) -> bool:
    """Trains a part, from its checkpoint if there is one, and records it; not if another process is training the same.

    Returns:
        Whether it is recorded.
    """
    try:
        with lock_folder(lock_of(part)):
            share([part])
            if left_of([part]):  # it may have been recorded since
                _do(part)
    except InUseError:
        return False
    except SettingsError as error:
        sys.exit(f"{part.experiment}: {error}")
    return True


def lock_of(part: Part) -> Path:
    """The folder that the process owns which trains this call, of whatever experiment."""
    return CHECKPOINTS / ".locks" / hashlib.sha256(call_of(part.settings).encode()).hexdigest()[:16]


def _folder(part: Part) -> Path:
    return CHECKPOINTS / part.experiment / part.label.replace("/", "-").replace(" ", "")


def _do(part: Part) -> None:
    Console(stderr=True).print(f"{part.experiment}: {part.label}")
    if part.settings:
        settings = {name: value(part.settings) if callable(value) else value for name, value in part.settings.items()}
        row = (_published if "program" in settings else _trained)(part, settings)
    else:
        row = density()
    add(f"paper-{part.experiment}", row | {"label": part.label}, "label")


def _trained(part: Part, settings: Settings) -> Row:
    spec = make_spec(**settings)
    result = train(spec, Checkpoints(_folder(part)), hint="the same command goes on")
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


def show(wanted: list[Part]) -> None:
    """Prints the parts in their order, with the hours of those that are left, and the hours of every experiment.

    A call that several parts want counts with the first of them, and in those of experiments with each.
    """
    left, calls = left_of(wanted), [row["call"] for row in recorded()]
    before = list(calls)
    for part in wanted:
        state = f"{hours_of([part], before):4.1f} h" if part in left else "  done"
        print(f"{state}  {part.experiment}: {part.label} ({num_runs(part)} runs)")
        before.append(part.settings)
    for name in dict.fromkeys(part.experiment for part in wanted):
        mine = [part for part in left if part.experiment == name]
        print(f"{hours_of(mine, calls):4.1f} h  {name}: {len(mine)} parts, {sum(map(num_runs, mine))} runs")
    print(f"{len(left)} of {len(wanted)} parts are left: {hours_of(left, calls):.0f} hours of one core")


if __name__ == "__main__":
    tyro.cli(main)
