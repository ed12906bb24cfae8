"""The commands and their options, as records that tyro parses."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from rpo_jax.cli.options import make_settings_options

DEFAULT_ENV = "gymnax/Pendulum-v1"


def _help(text: str, metavar: str | None = None) -> Any:
    return tyro.conf.arg(help=text, metavar=metavar)


Settings = make_settings_options()

# Options that several commands have.
FilledFolder = Annotated[tyro.conf.Positional[Path], _help("a folder that train has filled", "DIR")]
RunsAtOnce = Annotated[int | None, _help("most runs in one call; as many as memory holds if not given", "INT")]
Loggers = Annotated[tuple[str, ...], _help("curves while it trains: tensorboard, wandb, csv, parquet", "NAME ...")]
CompilationCache = Annotated[bool, _help("keep compiled programs in the user's cache folder")]
Setting = Annotated[int | None, _help("index of its setting; the best if not given", "INT")]
Seed = Annotated[int | None, _help("number of its seed; the best if not given", "INT")]
Best = Annotated[bool, _help("the best policy of its evaluations, not the last one")]
Imports = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(
        name="import", help="import a module that registers environments, variants, heads or networks", metavar="MODULE"
    ),
]
Sample = Annotated[bool, _help("act with a sample of the policy rather than its mean action")]


@dataclasses.dataclass
class RunOptions:
    """What `train` and `compare` share."""

    env: Annotated[tyro.conf.Positional[str], _help("suite and id; `rpo-jax envs` lists them", "ENV")] = DEFAULT_ENV
    preset: Annotated[str, _help("paper, seed-notes or fast", "NAME")] = "fast"
    head: Annotated[
        str | None, _help("normal, laplace, gumbel, tanh-normal or normal-then-tanh; the preset's if not given", "NAME")
    ] = None
    network: Annotated[str, _help("mlp, or the name of one that a module registers", "NAME")] = "mlp"
    init_from: Annotated[
        Path | None, _help("begin every run with the best policy of this run folder and its normalisation", "DIR")
    ] = None
    num_seeds: Annotated[int, _help("seeds trained together")] = 8
    first_seed: Annotated[int, _help("the first of them")] = 0
    time_limit: Annotated[
        str | None, _help("bootstrap or terminate: what a time limit means; the preset's if not given", "NAME")
    ] = None
    backend: Annotated[str | None, _help("Brax only: spring, positional, generalized or mjx", "NAME")] = None
    num_threads: Annotated[int | None, _help("EnvPool only: threads of each device's pool", "INT")] = None
    num_evaluations: Annotated[int, _help("evaluations of the policies during training, evenly spaced")] = 0
    evaluation_episodes: Annotated[int, _help("episodes of each policy in one of them")] = 16
    out: Annotated[Path | None, _help("the run's folder; one under runs/ if not given", "DIR")] = None
    runs_at_once: RunsAtOnce = None
    logger: Loggers = ()
    compilation_cache: CompilationCache = True
    imports: Imports = ()
    settings: Annotated[Any, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Settings)


@dataclasses.dataclass
class Train(RunOptions):
    """Train one variant; several values for a hyperparameter make a sweep, trained in one call."""

    variant: Annotated[str, _help("the method: rpo, ppo, rad, drac or another that README lists", "NAME")] = "rpo"


@dataclasses.dataclass
class Compare(RunOptions):
    """Train several variants on the same seeds, and draw them in one picture."""

    variants: Annotated[tuple[str, ...], _help("methods, as of train", "NAME ...")] = (
        "rpo",
        "ppo",
    )


@dataclasses.dataclass
class Resume:
    """Go on with a run that was stopped, from its last checkpoint."""

    folder: Annotated[tyro.conf.Positional[Path], _help("a folder that train has begun", "DIR")]
    runs_at_once: RunsAtOnce = None
    logger: Loggers = ()
    compilation_cache: CompilationCache = True
    imports: Imports = ()


@dataclasses.dataclass
class Evaluate:
    """Play whole episodes with the policies of a run folder, and print their returns."""

    folder: FilledFolder
    num_episodes: Annotated[int, _help("episodes of each policy")] = 128
    sample: Sample = False
    best: Annotated[bool, _help("of each run the best policy of its evaluations, not the last one")] = False
    seed: Annotated[int, _help("of the episodes")] = 0
    compilation_cache: CompilationCache = True
    imports: Imports = ()


@dataclasses.dataclass
class Play:
    """Show an episode of a trained policy: a moving picture, or a page for Brax."""

    folder: FilledFolder
    setting: Setting = None
    seed: Seed = None
    best: Best = False
    sample: Sample = False
    episode_seed: Annotated[int, _help("of the episode")] = 0
    max_steps: Annotated[int, _help("of the episode")] = 1000
    out: Annotated[
        Path | None, _help(".gif, .mp4 or, for Brax, .html; one in the run's folder if not given", "FILE")
    ] = None
    open: Annotated[bool, _help("open it in a browser, where there is one")] = True
    imports: Imports = ()


@dataclasses.dataclass
class Export:
    """Write a trained policy as programs that need nothing of rpo_jax: StableHLO and ONNX."""

    folder: FilledFolder
    setting: Setting = None
    seed: Seed = None
    best: Best = False
    out: Annotated[Path | None, _help("where the files go; the run's folder if not given", "DIR")] = None
    imports: Imports = ()


@dataclasses.dataclass
class Envs:
    """List what can be trained: every suite, or the tasks of those named."""

    suites: Annotated[tyro.conf.Positional[tuple[str, ...]], _help("suites whose tasks to list", "SUITE ...")] = ()
    imports: Imports = ()


@dataclasses.dataclass
class Check:
    """Find out whether this machine computes right: XLA's known faults, an update, and environments."""

    long: Annotated[bool, _help("more environments and backends: minutes instead of seconds")] = False


Command = Train | Compare | Resume | Evaluate | Play | Export | Envs | Check
COMMANDS: tuple[type, ...] = get_args(Command)
