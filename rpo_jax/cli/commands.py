"""The subcommands and their options, as dataclasses that tyro parses."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from rpo_jax.cli.options import no_settings
from rpo_jax.settings.presets import PRESETS

DEFAULT_ENV, DEFAULT_PRESET = "gymnax/Pendulum-v1", "fast"


def _help(text: str, metavar: str | None = None) -> Any:
    return tyro.conf.arg(help=text, metavar=metavar)


# Options of several subcommands.
FilledFolder = Annotated[tyro.conf.Positional[Path], _help("folder of a finished run", "DIR")]
RunsAtOnce = Annotated[
    int | None, _help("maximum number of runs trained in one call; as many as fit into memory if not given", "INT")
]
Loggers = Annotated[
    tuple[str, ...], _help("loggers that follow training: tensorboard, wandb, csv, parquet", "NAME ...")
]
StopAtReturn = Annotated[
    float | None,
    _help("stop once the mean return over seeds has reached this for every setting; resume goes on", "FLOAT"),
]
CompilationCache = Annotated[bool, _help("store compiled programs in the user's cache folder")]
Distributed = Annotated[
    str | None,
    _help(
        "one of several processes that train together, on many devices or machines, each started with the same "
        "command: alone where JAX finds them (Slurm, Cloud TPU, Open MPI, Kubernetes), else followed by the address of "
        "the first process, their number, and the number of this one from 0",
        "[HOST:PORT,COUNT,NUMBER]",
    ),
]
Setting = Annotated[int | None, _help("index of the policy's hyperparameter setting; the best if not given", "INT")]
Seed = Annotated[int | None, _help("seed of the policy; the best if not given", "INT")]
Best = Annotated[bool, _help("use the policy with the best evaluation, not the last one")]
Shard = Annotated[
    str | None,
    _help(
        "train only this part of the sweep, to be joined by merge: 3/16, auto in a Slurm array, or auto/16",
        "K/N",
    ),
]
Imports = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]],
    tyro.conf.arg(
        name="import", help="import a module that registers environments, variants, heads or networks", metavar="MODULE"
    ),
]
Sample = Annotated[bool, _help("sample actions from the policy instead of taking its mean action")]


@dataclasses.dataclass
class RunOptions:
    """Options that `train` and `compare` share."""

    env: Annotated[tyro.conf.Positional[str], _help("environment, as suite/id; `rpo-jax envs` lists them", "ENV")] = (
        DEFAULT_ENV
    )
    preset: Annotated[str, _help(f"settings to begin with: {', '.join(PRESETS)}", "NAME")] = DEFAULT_PRESET
    head: Annotated[
        str | None,
        _help("action head, such as normal or tanh-normal ('?' lists them all); the preset's if not given", "NAME"),
    ] = None
    network: Annotated[str, _help("mlp, or the name of a network that an imported module registers", "NAME")] = "mlp"
    init_from: Annotated[
        Path | None,
        _help("start every run from the best policy of this run folder and its observation normalisation", "DIR"),
    ] = None
    num_seeds: Annotated[int, _help("number of seeds, which are trained together")] = 8
    first_seed: Annotated[int, _help("the first seed")] = 0
    time_limit: Annotated[
        str | None, _help("treatment of time limits: bootstrap or terminate; the preset's if not given", "NAME")
    ] = None
    backend: Annotated[str | None, _help("Brax only: spring, positional, generalized or mjx", "NAME")] = None
    num_threads: Annotated[int | None, _help("EnvPool only: number of threads of each device's pool", "INT")] = None
    env_arg: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        _help(
            "argument of the environment itself, such as g=5.0 or max_episode_steps=500; for Gymnasium, gymnax, Brax "
            "and registered environments",
            "NAME=VALUE",
        ),
    ] = ()
    num_evaluations: Annotated[int, _help("number of evaluations during training, evenly spaced")] = 0
    evaluation_episodes: Annotated[int, _help("episodes of each policy per evaluation")] = 16
    rows: Annotated[
        Path | None,
        tyro.conf.arg(
            name="settings",
            help="CSV file of settings that are trained together: hyperparameters in its first line, a setting in each "
            "other one",
            metavar="FILE",
        ),
    ] = None
    out: Annotated[Path | None, _help("folder of the run; a new one under runs/ if not given", "DIR")] = None
    runs_at_once: RunsAtOnce = None
    logger: Loggers = ()
    stop_at_return: StopAtReturn = None
    dry_run: Annotated[bool, _help("print all settings, sizes, memory and disk space, and train nothing")] = False
    compilation_cache: CompilationCache = True
    distributed: Distributed = None
    imports: Imports = ()
    settings: Annotated[Any, tyro.conf.arg(name="")] = dataclasses.field(default_factory=no_settings)


@dataclasses.dataclass
class Train(RunOptions):
    """Train one variant; several values for a hyperparameter make a sweep, trained in one call."""

    variant: Annotated[
        str, _help("the method: rpo, ppo, rad, drac or another one listed in rpo_jax/algorithm/README.md", "NAME")
    ] = "rpo"
    shard: Shard = None


@dataclasses.dataclass
class Compare(RunOptions):
    """Train several variants on the same seeds, and draw them in one picture."""

    variants: Annotated[tuple[str, ...], _help("methods; see train", "NAME ...")] = (
        "rpo",
        "ppo",
    )
    shard: Shard = None


@dataclasses.dataclass
class Search(RunOptions):
    """Search hyperparameters: train many settings, drop the worse half at fixed points, compare on fresh seeds."""

    variant: Annotated[str, _help("the method; see train", "NAME")] = "rpo"
    over: Annotated[
        tuple[str, ...],
        _help(
            "what to search: NAME, of which a range is known, NAME=LOW:HIGH, NAME=log:LOW:HIGH, or NAME=A,B,C; sizes "
            "as hidden_sizes=64x64,128x128; learning_rate, gamma, gae_lambda, entropy_coefficient and rpo_alpha if "
            "not given",
            "NAME[=RANGE] ...",
        ),
    ] = ()
    num_settings: Annotated[
        int | None,
        _help("number of settings to begin with; 32 if not given, or all combinations of fewer choices", "INT"),
    ] = None
    budget: Annotated[
        str | None,
        _help("environment steps of the whole search, such as 5e7, which decide the number of settings", "INT"),
    ] = None
    num_seeds: Annotated[int, _help("number of seeds of each setting")] = 3
    halvings: Annotated[
        int | None,
        _help(
            "how often the worse half of the settings is dropped: 2 at 1/4 and 1/2 of the training, 3 at 1/8 too; 3 if "
            "not given, or fewer where episodes are too long for that",
            "INT",
        ),
    ] = None
    finalists: Annotated[int, _help("number of settings that are trained on fresh seeds at the end")] = 4
    final_seeds: Annotated[int, _help("number of fresh seeds")] = 10
    draw: Annotated[int, _help("number of the draw of the settings; another draws others")] = 0
    sampler: Annotated[
        str,
        _help(
            "sobol covers the ranges evenly; tpe, of Optuna, proposes settings in batches, near those that were good",
            "sobol|tpe",
        ),
    ] = "sobol"
    batches: Annotated[
        int | None,
        _help("number of batches with tpe; the first is drawn by sobol; 4 if not given", "INT"),
    ] = None
    shard: Annotated[
        str | None,
        _help(
            "number of this job, of those that share the search by the same command and --out: 3/16, auto in a Slurm "
            "array, or auto/16",
            "K/N",
        ),
    ] = None


@dataclasses.dataclass
class Resume:
    """Continue a stopped run, comparison or search from its last checkpoint."""

    folder: Annotated[tyro.conf.Positional[Path], _help("folder of a run, a comparison or a search", "DIR")]
    runs_at_once: RunsAtOnce = None
    logger: Loggers = ()
    stop_at_return: StopAtReturn = None
    compilation_cache: CompilationCache = True
    distributed: Distributed = None
    imports: Imports = ()


@dataclasses.dataclass
class Merge:
    """Join the shards of a sweep or a comparison, all of them trained, into the folder of the whole."""

    folders: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], _help("folders of shards, or the folder that holds them", "DIR ...")
    ]
    out: Annotated[Path | None, _help("folder of the whole; that which holds the shards if not given", "DIR")] = None
    imports: Imports = ()


@dataclasses.dataclass
class Evaluate:
    """Play episodes with the policies of a run folder or of a comparison, and print their returns."""

    folder: Annotated[tyro.conf.Positional[Path], _help("folder of a finished run or comparison", "DIR")]
    num_episodes: Annotated[int, _help("episodes of each policy")] = 128
    sample: Sample = False
    best: Annotated[bool, _help("for each run, use the policy with the best evaluation, not the last one")] = False
    seed: Annotated[int, _help("seed of the episodes")] = 0
    compilation_cache: CompilationCache = True
    imports: Imports = ()


@dataclasses.dataclass
class Play:
    """Show an episode of a trained policy as an animation or, for Brax, as a web page."""

    folder: FilledFolder
    setting: Setting = None
    seed: Seed = None
    best: Best = False
    sample: Sample = False
    episode_seed: Annotated[int, _help("seed of the episode")] = 0
    max_steps: Annotated[int, _help("maximum number of steps of the episode")] = 1000
    out: Annotated[
        Path | None,
        _help("file to write: .gif, .mp4 or, for Brax, .html; one in the run's folder if not given", "FILE"),
    ] = None
    open: Annotated[bool, _help("open the file in a browser, if there is one")] = True
    imports: Imports = ()


@dataclasses.dataclass
class Export:
    """Export a trained policy as programs that do not need rpo_jax: StableHLO and ONNX."""

    folder: FilledFolder
    setting: Setting = None
    seed: Seed = None
    best: Best = False
    out: Annotated[Path | None, _help("folder for the files; the run's folder if not given", "DIR")] = None
    imports: Imports = ()


@dataclasses.dataclass
class Envs:
    """List the environments of all suites, or of the given ones."""

    suites: Annotated[tyro.conf.Positional[tuple[str, ...]], _help("suites whose tasks to list", "SUITE ...")] = ()
    imports: Imports = ()


@dataclasses.dataclass
class Check:
    """Check whether this machine computes correctly: known faults of XLA, an update, and environments."""

    long: Annotated[bool, _help("check more environments and backends, in minutes instead of seconds")] = False


Command = Train | Compare | Search | Resume | Merge | Evaluate | Play | Export | Envs | Check
COMMANDS: tuple[type, ...] = get_args(Command)
