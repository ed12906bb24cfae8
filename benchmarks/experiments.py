"""The paper's experiments as data: what each asks and trains, cut into parts that a core does in well under an hour."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import ball_balance
from noise_floor import coefficient_of_rpo, log_std_of_rpo, suggested_range

# Of `make_spec`; a function of the others gives a value that follows from other results. With a `program`, that trains.
Settings = Mapping[str, Any]


class Scale(NamedTuple):
    """How much is trained of every setting."""

    seeds: int
    timesteps: int


PUBLISHED = Scale(10, 8_000_000)


class Experiment(NamedTuple):
    """An experiment, with preset `paper` but for what is named.

    Attributes:
        question: what it answers.
        calls: settings by name; those that differ in numbers only, given as lists, train in one call.
        envs: environments of the standing list.
        full: those of the paper.
        sizes: seeds of a part, by environment, where that is fixed.
        scale: of the standing list, but for `SCALES`.
        full_scale: the paper's.
        full_settings: settings that differ at that scale.
    """

    question: str
    calls: Mapping[str, Settings]
    envs: tuple[str, ...]
    full: tuple[str, ...]
    sizes: Mapping[str, int] = {}
    scale: Scale = Scale(5, 2_000_000)
    full_scale: Scale = PUBLISHED
    full_settings: Mapping[str, Any] = {}


class Part(NamedTuple):
    """A piece of an experiment.

    Attributes:
        experiment: its name, which is that of its file of results.
        label: the piece's own.
        settings: what is trained, in one call; none where nothing is.
    """

    experiment: str
    label: str
    settings: Settings


PENDULUM = "gymnax/Pendulum-v1"
SCALES = {PENDULUM: Scale(10, 1_000_000)}
MINUTES = 25  # that a part takes on a core, or as many as one seed does: beside other work it takes longer
# Steps per second of a core that trains ten runs or more; an environment that is not listed may be slow. They cut the
# parts, so a part of which a checkpoint or a result is kept is found no more if its environment's speed is changed.
SPEEDS = {
    PENDULUM: 80_000,
    "brax/hopper": 30_000,
    "brax/reacher": 40_000,
    "envpool/AcrobotSwingup-v1": 25_000,
    "envpool/Ant-v4": 3_600,
    "envpool/BallInCupCatch-v1": 14_000,
    "envpool/BipedalWalker-v3": 8_700,
    "envpool/CartpoleSwingup-v1": 20_000,
    "envpool/FingerTurnHard-v1": 20_000,
    "envpool/FishSwim-v1": 12_000,
    "envpool/Hopper-v4": 9_800,
    "envpool/HopperHop-v1": 14_000,
    "envpool/HumanoidRun-v1": 5_000,
    "envpool/InvertedDoublePendulum-v4": 13_500,
    "envpool/PendulumSwingup-v1": 25_000,
    "envpool/Pusher-v4": 13_000,
    "envpool/ReacherEasy-v1": 25_000,
    "envpool/Reacher-v4": 19_000,
    "envpool/WalkerRun-v1": 8_000,
    "envpool/WalkerStand-v1": 8_000,
    "envpool/WalkerWalk-v1": 8_000,
    ball_balance.NAME: 250_000,
    "playground/CartpoleBalance": 150_000,
    "playground/CartpoleSwingup": 150_000,
}
SLOW = 3_500
TASKS_OF_A_TURN = {"ppo-vs-rpo": 2}  # one of the others

# In the order in which they are run: how many seeds are a part.
PPO_VS_RPO = {
    "envpool/WalkerRun-v1": 1,
    "envpool/HopperHop-v1": 1,
    "envpool/FishSwim-v1": 1,
    "envpool/QuadrupedRun-v1": 1,
    "envpool/HumanoidRun-v1": 1,
    "envpool/BallInCupCatch-v1": 2,
    "envpool/ReacherEasy-v1": 2,
    "envpool/FingerTurnHard-v1": 2,
    "envpool/CartpoleSwingup-v1": 2,
    "envpool/QuadrupedEscape-v1": 1,
    "envpool/BipedalWalker-v3": 1,
    "gymnasium/AntBulletEnv-v0": 1,  # MinitaurBulletEnv-v0 has not been carried over to Gymnasium
}
REST_OF_DM_CONTROL = tuple(  # of the paper's twelve tasks
    f"envpool/{task}-v1"
    for task in ("AcrobotSwingup", "HumanoidStand", "PendulumSwingup", "QuadrupedWalk", "WalkerStand", "WalkerWalk")
)
AT_SCALE = (ball_balance.NAME, "playground/CartpoleBalance", "playground/CartpoleSwingup")
FAILURES = tuple(f"envpool/{task}-v4" for task in ("InvertedDoublePendulum", "Reacher", "Hopper", "Pusher", "Ant"))
PPO_AND_RPO = {"rpo_alpha": [0.0, 0.5]}  # PPO is RPO with alpha 0
PUBLISHED_PROGRAM = "published program"
LAW = {"rpo_alpha": [0.1, 0.5, 2.0], "clip_epsilon": [0.1, 0.2, 0.4]}

EXPERIMENTS = {
    "density": Experiment("What does the perturbation make of a normal policy?", {}, (), ()),
    "ppo-vs-rpo": Experiment(
        "Does RPO beat PPO under the published protocol?",
        {"": PPO_AND_RPO},
        (PENDULUM, *PPO_VS_RPO),
        (PENDULUM, *PPO_VS_RPO, *REST_OF_DM_CONTROL),
        PPO_VS_RPO,
        PUBLISHED,
    ),
    "at-scale": Experiment(  # what IsaacGym was for the paper
        "Does RPO beat PPO with many environments at once?",
        {"": {"preset": "fast", "time_limit": "bootstrap", "num_envs": 256, **PPO_AND_RPO}},
        AT_SCALE,
        AT_SCALE,
        scale=Scale(10, 8_192_000),
        full_scale=Scale(10, 100_000_000),
        full_settings={"num_envs": 8192},
    ),
    "protocol": Experiment(
        "How much do the differences between preset `paper` and the published program matter?",
        {"": PPO_AND_RPO, PUBLISHED_PROGRAM: {**PPO_AND_RPO, "program": PUBLISHED_PROGRAM}},
        (PENDULUM,),
        (PENDULUM,),
    ),
    "time-limits": Experiment(
        "How much of RPO's advantage comes from time limits that count as terminations?",
        {
            "terminate": PPO_AND_RPO,
            "bootstrap": {**PPO_AND_RPO, "time_limit": "bootstrap"},
            "terminate, raw rewards": {**PPO_AND_RPO, "normalize_rewards": False},
            "bootstrap, raw rewards": {**PPO_AND_RPO, "time_limit": "bootstrap", "normalize_rewards": False},
        },
        (
            *(PENDULUM, "envpool/CartpoleSwingup-v1", "envpool/HopperHop-v1", "envpool/BallInCupCatch-v1"),
            *("brax/reacher", "brax/hopper", "envpool/WalkerRun-v1"),
        ),
        (PENDULUM, *PPO_VS_RPO),
    ),
    "entropy": Experiment(
        "Does an entropy bonus do what RPO does?",
        {"ppo, rpo": PPO_AND_RPO, "bonus": {"variant": "ppo", "entropy_coefficient": [0.01, 0.05]}},
        (PENDULUM, "envpool/CartpoleSwingup-v1", "envpool/HopperHop-v1", "envpool/WalkerStand-v1"),
        (PENDULUM, "envpool/QuadrupedRun-v1", "envpool/WalkerStand-v1"),
    ),
    "distributions": Experiment(
        "Does RPO help other distributions of actions?",
        {"normal": PPO_AND_RPO, **{head: {**PPO_AND_RPO, "head": head} for head in ("laplace", "gumbel")}},
        (PENDULUM, "envpool/CartpoleSwingup-v1", "envpool/BipedalWalker-v3"),
        (PENDULUM, "envpool/BipedalWalker-v3", "gymnasium/AntBulletEnv-v0"),
    ),
    "augmentation": Experiment(
        "Does augmentation of observations do what RPO does?",
        {"ppo, rpo": PPO_AND_RPO, **{variant: {"variant": variant} for variant in ("rad", "drac", "drac-kl")}},
        (PENDULUM, "envpool/PendulumSwingup-v1", "envpool/AcrobotSwingup-v1", "envpool/WalkerRun-v1"),
        tuple(
            f"envpool/{task}-v1"
            for task in (
                *("AcrobotSwingup", "FishSwim", "HumanoidStand", "HumanoidRun", "PendulumSwingup", "QuadrupedWalk"),
                *("QuadrupedRun", "QuadrupedEscape", "WalkerStand", "WalkerWalk", "WalkerRun"),
            )
        ),
    ),
    "alpha": Experiment(
        "How does alpha matter?",
        {"ppo, rpo": PPO_AND_RPO, "others": {"rpo_alpha": [0.001, 0.1, 1.0, 3.0, 5.0, 10.0, 100.0, 1000.0]}},
        (PENDULUM, "envpool/CartpoleSwingup-v1", "envpool/HopperHop-v1", "envpool/WalkerRun-v1"),
        (PENDULUM, "envpool/QuadrupedRun-v1", "envpool/WalkerRun-v1"),
    ),
    "noise-floor": Experiment(
        "Is RPO anything but a floor under the noise of the policy?",
        {
            "ppo, rpo": PPO_AND_RPO,
            "RPO's sigma throughout": {"variant": "ppo-constant-std", "log_std": log_std_of_rpo},
            "RPO's sigma as a floor": {"variant": "ppo-min-std", "min_log_std": log_std_of_rpo},
            "choice of a bonus": {  # on seeds of its own
                "variant": "ppo",
                "entropy_coefficient": [0.001, 0.003, 0.01, 0.03, 0.1],
                "first_seed": 100,
                "num_seeds": 3,
            },
            "RPO's entropy by a bonus": {"variant": "ppo", "entropy_coefficient": coefficient_of_rpo},
            "law, 10 epochs": {**LAW, "num_epochs": 10},
            "law, 3 epochs": {**LAW, "num_epochs": 3},
        },
        (PENDULUM, "envpool/CartpoleSwingup-v1", "envpool/BallInCupCatch-v1", "envpool/HopperHop-v1"),
        (PENDULUM, "envpool/BallInCupCatch-v1", "envpool/HopperHop-v1", "envpool/WalkerRun-v1"),
    ),
    "failures": Experiment(
        "Where does RPO fail, and which alpha mends it?",
        {
            "ppo, rpo": PPO_AND_RPO,
            "small alpha": {"rpo_alpha": 0.01},
            "rpo-range": {"variant": "rpo-range", "rpo_alpha": [0.01, 0.1]},
            "by the law": {"variant": "rpo-range", "rpo_alpha": suggested_range},
            "rpo-sigma": {"variant": "rpo-sigma", "rpo_alpha": [0.1, 0.5]},
        },
        (PENDULUM, *FAILURES),
        FAILURES,
    ),
}


def parts(
    name: str, envs: Iterable[str] = (), seeds: int | None = None, timesteps: int | None = None, full: bool = False
) -> Iterator[Part]:
    """The parts of an experiment.

    Args:
        name: of the experiment.
        envs: environments; those of the experiment if none.
        seeds: of every setting; by environment if None.
        timesteps: of every run; by environment if None.
        full: the paper's environments and scale, each call in one piece.
    """
    experiment = EXPERIMENTS[name]
    if not experiment.calls:
        yield Part(name, name, {})
    for env in envs or (experiment.full if full else experiment.envs):
        scale = experiment.full_scale if full else SCALES.get(env, experiment.scale)
        scale = Scale(seeds or scale.seeds, timesteps or scale.timesteps)
        for call, settings in experiment.calls.items():
            size = scale.seeds if full else experiment.sizes.get(env)
            more = experiment.full_settings if full else {}
            names = [call, *(f"{name} {value:,}" for name, value in more.items())]
            yield from _cut(name, names, {"env": env, **settings, **more}, scale, size)


def _cut(experiment: str, names: list[str], settings: Settings, scale: Scale, size: int | None) -> Iterator[Part]:
    """The parts of a call, whose `names` stand in their labels: no other call of the experiment has the same ones."""
    first, seeds = settings.get("first_seed", 0), settings.get("num_seeds", scale.seeds)
    whole = {
        "preset": "paper",
        "time_limit": "terminate",
        **settings,
        "total_timesteps": scale.timesteps,
        "num_seeds": 1,
    }
    size = size or max(1, int(MINUTES / 60 / hours(Part(experiment, "", whole))))
    size = math.ceil(seeds / math.ceil(seeds / size))
    for begin in range(first, first + seeds, size):
        count = min(size, first + seeds - begin)
        steps = "" if scale.timesteps == PUBLISHED.timesteps else f"{scale.timesteps:,} steps"
        label = (settings["env"], *names, steps, f"seeds {begin} ... {begin + count - 1}")
        yield Part(experiment, ", ".join(filter(None, label)), {**whole, "first_seed": begin, "num_seeds": count})


def num_runs(part: Part) -> int:
    """Number of runs of a part: settings times seeds."""
    values = [value for value in part.settings.values() if isinstance(value, list)]
    return math.prod(map(len, values)) * part.settings.get("num_seeds", 1)


def hours(part: Part) -> float:
    """Time that a part is expected to take on a core."""
    if not part.settings:
        return 0.0
    speed = SPEEDS.get(part.settings["env"], SLOW)
    return num_runs(part) * part.settings["total_timesteps"] / speed / 3600


def call_of(settings: Settings) -> str:
    """What two calls have in common if and only if they train the same."""
    return json.dumps(settings, sort_keys=True, default=lambda function: function.__name__)


def hours_of(some: Iterable[Part], recorded: Iterable[Settings] = ()) -> float:
    """Time of several parts: a call that several want is trained once, and one that was recorded is not.

    Args:
        some: parts.
        recorded: settings of the calls that experiments have recorded.
    """
    known = set(map(call_of, recorded))
    return sum({call: hours(part) for part in some if (call := call_of(part.settings)) not in known}.values())


def standing() -> Iterator[Part]:
    """All parts of the default scale, so ordered that many questions are answered soon.

    First Pendulum by every experiment. Then the experiments take turns, each with the task of its own that takes the
    fewest hours; in a turn cheap tasks come first. All this is done with three seeds, from which on there are
    intervals, where they are parts of their own; then with five, and then with the rest.
    """
    yield from parts("density")
    for name, experiment in EXPERIMENTS.items():
        if PENDULUM in experiment.envs:
            yield from parts(name, [PENDULUM])
    tasks = [
        (index // TASKS_OF_A_TURN.get(name, 1), hours_of(task), task)
        for name in EXPERIMENTS
        for index, task in enumerate(_by_task(name))
    ]
    listed = [part for _, _, task in sorted(tasks, key=itemgetter(0, 1)) for part in task]
    yield from sorted(listed, key=_round)


def _by_task(name: str) -> list[list[Part]]:
    """The parts of each task of an experiment but for Pendulum, the cheapest task first; the law's after all others."""
    tasks = sorted((list(parts(name, [env])) for env in EXPERIMENTS[name].envs if env != PENDULUM), key=hours_of)
    split = [[part for part in task if _is_of_law(part) == law] for law in (False, True) for task in tasks]
    return list(filter(None, split))


def _round(part: Part) -> int:
    """In which round over all tasks a part is done; those that need the results of others stay behind these."""
    seed = part.settings["first_seed"]
    return 0 if part.experiment == "noise-floor" and not _is_of_law(part) else (seed >= 3) + (seed >= 5)


def _is_of_law(part: Part) -> bool:
    return LAW.items() <= part.settings.items()
