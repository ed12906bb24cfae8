"""The command `rpo-jax`: train, compare, resume, evaluate, play, export, envs, check."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Collection, Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import Annotated, Any

import tyro

from rpo_jax.cli.options import given_settings, make_settings_options
from rpo_jax.errors import SettingsError, SimulatorError, unknown_name

DEFAULT_ENV = "gymnax/Pendulum-v1"
METHODS = "rpo, ppo, rpo-range, rpo-sigma, rad, drac, drac-kl, ppo-constant-std, ppo-min-std"


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
Sample = Annotated[bool, _help("act with a sample of the policy rather than its mean action")]


@dataclasses.dataclass
class RunOptions:
    """What `train` and `compare` share."""

    env: Annotated[tyro.conf.Positional[str], _help("suite and id; `rpo-jax envs` lists them", "ENV")] = DEFAULT_ENV
    preset: Annotated[str, _help("paper, seed-notes or fast", "NAME")] = "fast"
    head: Annotated[
        str | None, _help("normal, laplace, gumbel, tanh-normal or normal-then-tanh; the preset's if not given", "NAME")
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
    settings: Annotated[Any, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Settings)


@dataclasses.dataclass
class Train(RunOptions):
    """Train one variant; several values for a hyperparameter make a sweep, trained in one call."""

    variant: Annotated[str, _help(f"the method: {METHODS}", "NAME")] = "rpo"


@dataclasses.dataclass
class Compare(RunOptions):
    """Train several variants on the same seeds, and draw them in one picture."""

    variants: Annotated[tuple[str, ...], _help(f"which, of {METHODS}", "NAME ...")] = ("rpo", "ppo")


@dataclasses.dataclass
class Resume:
    """Go on with a run that was stopped, from its last checkpoint."""

    folder: Annotated[tyro.conf.Positional[Path], _help("a folder that train has begun", "DIR")]
    runs_at_once: RunsAtOnce = None
    logger: Loggers = ()
    compilation_cache: CompilationCache = True


@dataclasses.dataclass
class Evaluate:
    """Play whole episodes with the policies of a run folder, and print their returns."""

    folder: FilledFolder
    num_episodes: Annotated[int, _help("episodes of each policy")] = 128
    sample: Sample = False
    best: Annotated[bool, _help("of each run the best policy of its evaluations, not the last one")] = False
    seed: Annotated[int, _help("of the episodes")] = 0
    compilation_cache: CompilationCache = True


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


@dataclasses.dataclass
class Export:
    """Write a trained policy as programs that need nothing of rpo_jax: StableHLO and ONNX."""

    folder: FilledFolder
    setting: Setting = None
    seed: Seed = None
    best: Best = False
    out: Annotated[Path | None, _help("where the files go; the run's folder if not given", "DIR")] = None


@dataclasses.dataclass
class Envs:
    """List what can be trained: every suite, or the tasks of those named."""

    suites: Annotated[tyro.conf.Positional[tuple[str, ...]], _help("suites whose tasks to list", "SUITE ...")] = ()


@dataclasses.dataclass
class Check:
    """Find out whether this machine computes right: XLA's known faults, an update, and environments."""

    long: Annotated[bool, _help("more environments and backends: minutes instead of seconds")] = False


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Its exit code: 0; 1 if an environment or a check failed, 2 for input that cannot be used, 130 for an interrupt.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = parse(arguments)
        with _warnings_told():
            code = COMMANDS[type(command)](command)
        sys.stdout.flush()
        return code
    except SettingsError as error:
        print("rpo-jax: error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 2
    except SimulatorError as error:
        print("rpo-jax: error: an environment failed:", " ".join(str(error).splitlines()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rpo-jax: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads the output has seen enough, as in `rpo-jax envs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a disk that is full, or may not be written to
        print(f"rpo-jax: error: {error.strerror or error}: {error.filename or 'the disk'}", file=sys.stderr)
        return 2


@contextlib.contextmanager
def _warnings_told() -> Iterator[None]:
    """Prints what the library warns of, whatever handlers other libraries install."""

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print("rpo-jax:", record.getMessage(), file=sys.stderr)

    logger, handler = logging.getLogger("rpo_jax"), Told()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def parse(arguments: list[str]) -> Any:
    """The record of a command that the arguments describe.

    Raises:
        SettingsError: if they cannot be understood.
        SystemExit: for --help.
    """
    _check_names(arguments)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                tyro.conf.OmitArgPrefixes[Train | Compare | Resume | Evaluate | Play | Export | Envs | Check],  # pyright: ignore[reportArgumentType]
                prog="rpo-jax",
                description="Robust Policy Optimization for continuous control, in JAX.",
                args=arguments,
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise SettingsError(_first_paragraph(complaint.getvalue())) from None


def _first_paragraph(box: str) -> str:
    """What a framed message of tyro says before its rule, as one line; colours and frame depend on the terminal."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│ ") for line in plain.splitlines()][1:]  # after its title

    def is_rule(line: str) -> bool:
        return not line.strip("─╰╯-")

    paragraph = itertools.takewhile(lambda line: not is_rule(line), itertools.dropwhile(is_rule, lines))
    return f"{' '.join(paragraph).rstrip('.')}; see --help"


def _check_names(arguments: list[str]) -> None:
    """Names the nearest ones for a command or an option that does not exist."""
    commands = {command.__name__.lower(): command for command in COMMANDS}
    if not arguments or arguments[0] in ("-h", "--help"):
        return
    if arguments[0].startswith("-"):
        raise SettingsError(f"the command comes before its options: rpo-jax {'|'.join(commands)} [OPTIONS]")
    if arguments[0] not in commands:
        raise unknown_name("command", arguments[0], commands)
    known = _option_names(commands[arguments[0]])
    for argument in arguments[1:]:
        name = argument.partition("=")[0].removeprefix("--").replace("_", "-")
        if argument.startswith("--") and name not in known:
            near = difflib.get_close_matches(name, known, n=3) or ["help"]
            raise SettingsError(f"unknown setting --{name}; did you mean {' or '.join('--' + n for n in near)}?")


def _option_names(command: type) -> set[str]:
    names = {field.name for field in dataclasses.fields(command)}
    if "settings" in names:
        names |= {field.name for field in dataclasses.fields(Settings)}
    flags = {f"no-{name}" for name in names & {"compilation_cache", "sample", "best", "open", "long"}}
    return {name.replace("_", "-") for name in names | flags | {"help"}}


def _train(options: Train) -> int:
    from rich.console import Console

    from rpo_jax.runs.folder import check_free
    from rpo_jax.runs.launch import run_to_folder
    from rpo_jax.settings.spec import setting_labels

    _set_up_jax()
    spec = _spec(options, options.variant)
    path = options.out or _default_folder(spec.env, options.variant)
    check_free(path)
    console = Console(stderr=True)
    _prepare(options, console)
    summary, _ = run_to_folder(spec, path, console, options.runs_at_once, options.logger)
    return _report([summary], [setting_labels(spec)], path)


def _compare(options: Compare) -> int:
    from rich.console import Console

    from rpo_jax.algorithm.variants import foreign_hyperparams, get_variant
    from rpo_jax.runs.launch import check_free, compare_to_folder
    from rpo_jax.settings.spec import setting_labels

    if len(set(options.variants)) < len(options.variants) or not options.variants:
        raise SettingsError(f"--variants {' '.join(options.variants)}: name each variant once, such as: rpo ppo")
    _set_up_jax()
    variants = [get_variant(name) for name in options.variants]
    specs = [_spec(options, variant.name, ignored=foreign_hyperparams(variant, variants)) for variant in variants]
    path = options.out or _default_folder(options.env, "compare")
    check_free(specs, path)
    console = Console(stderr=True)
    _prepare(options, console)
    summaries = compare_to_folder(specs, path, console, options.runs_at_once, options.logger)
    labels = [setting_labels(spec) for spec in specs]
    return _report(summaries, labels, path)


def _resume(options: Resume) -> int:
    from rich.console import Console

    from rpo_jax.loggers import check_loggers
    from rpo_jax.runs.launch import resume, unfinished
    from rpo_jax.settings.spec import setting_labels

    check_loggers(options.logger)
    _set_up_jax()
    specs, console = unfinished(options.folder), Console(stderr=True)
    _prepare(options, console)
    summaries = resume(specs, options.folder, console, options.runs_at_once, options.logger)
    return _report(summaries, [setting_labels(spec) for spec in specs], options.folder)


def _evaluate(options: Evaluate) -> int:
    from rpo_jax.runs.evaluate import evaluate_run, evaluation_table
    from rpo_jax.runs.folder import load_run
    from rpo_jax.settings.grid import check_seeds

    if options.num_episodes < 1:
        raise SettingsError(f"num_episodes={options.num_episodes} is out of range: it must be 1 or more")
    from rich.console import Console

    _set_up_jax(1)
    check_seeds(options.seed, 1)
    run = load_run(options.folder, best=options.best)
    _keep_programs(options, Console(stderr=True))
    returns = evaluate_run(run, options.num_episodes, options.sample, options.seed)
    Console().print(evaluation_table(run, returns, options.sample))
    return 0


def _play(options: Play) -> int:
    from rich.console import Console

    from rpo_jax.runs.choose import choose
    from rpo_jax.runs.folder import load_run, run_label
    from rpo_jax.settings.grid import check_seeds
    from rpo_jax.visual.play import Player, has_screen, play, show, suffix_of

    if options.max_steps < 1:
        raise SettingsError(f"max_steps={options.max_steps} is out of range: it must be 1 or more")
    check_seeds(options.episode_seed, 1)
    for name in ("SDL_AUDIODRIVER", "SDL_VIDEODRIVER"):  # libraries that draw read these when they are imported
        os.environ.setdefault(name, "dummy")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if not has_screen() and find_library("EGL"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    _set_up_jax(1)
    run = load_run(options.folder, best=options.best)
    place = choose(options.folder, run, options.setting, options.seed, options.best)
    path = options.out or options.folder / f"play{suffix_of(run.spec.env)}"
    label = run_label(run.spec, *place)
    with Console(stderr=True).status(f"playing {label}") as status:
        player = Player(run, place, options.episode_seed, options.max_steps, options.sample)
        total = play(player, path, lambda count: status.update(f"playing {label}: {count} frames"))
    print(f"{label}: return {total:,.1f}; {path}")
    if options.open:
        show(path)
    return 0


def _export(options: Export) -> int:
    from rich.console import Console

    from rpo_jax.export.policy import export
    from rpo_jax.runs.choose import choose
    from rpo_jax.runs.folder import load_run, run_label

    _set_up_jax(1)
    run = load_run(options.folder, best=options.best)
    place = choose(options.folder, run, options.setting, options.seed, options.best)
    path = options.out or options.folder
    with Console(stderr=True).status(f"exporting {run_label(run.spec, *place)}"):
        differences = export(run, place, path)
    print(f"{run_label(run.spec, *place)}; largest difference from it over observations of all sizes:")
    for name, difference in differences.items():
        print(f"  {path / name}: {difference:.1e}")
    if "policy.onnx" not in differences:
        print("  no ONNX, which needs: pip install 'rpo_jax[export]'")
    return 0


def _envs(options: Envs) -> int:
    from importlib.util import find_spec

    from rich.console import Console

    from rpo_jax.envs import SUITES

    for name in options.suites:
        if name not in SUITES:
            raise unknown_name("suite", name, SUITES)
    console = Console(stderr=True)
    for name in options.suites or SUITES:
        suite = SUITES[name]
        if not find_spec(suite.module):
            print(f"{name}: not installed; pip install 'rpo_jax[{name}]'")
            continue
        with console.status(f"looking at the tasks of {name}"):
            tasks = suite.tasks()
        print(f"{name}: observations, actions")
        for task, (observation_size, action_size) in tasks.items():
            print(f"  {name}/{task}: {observation_size}, {action_size}")
        for more, package in suite.more.items():
            if not find_spec(more):
                print(f"  and more with: pip install {package}")
    return 0


def _check(options: Check) -> int:
    from rich.console import Console

    from rpo_jax.diagnosis.checks import checks_of
    from rpo_jax.diagnosis.machine import describe_machine
    from rpo_jax.diagnosis.processes import run_checks

    print(*describe_machine(), sep="\n", flush=True)
    groups, remedies = [list(group) for group in checks_of(long=options.long)], []
    left = sum(map(len, groups))
    with Console(stderr=True).status(f"{left} checks") as status:
        for name, finding in run_checks(groups):
            print(f"{'ok' if finding.ok else 'WRONG':5} {name}: {finding.text}", flush=True)
            left -= 1
            status.update(f"{left} checks to go")
            remedies += [] if finding.ok or finding.remedy in remedies else [finding.remedy]
    if remedies:
        print("not all is right here; what to do:", *remedies, sep="\n  ")
    return 1 if remedies else 0


COMMANDS: dict[type, Any] = {
    Train: _train,
    Compare: _compare,
    Resume: _resume,
    Evaluate: _evaluate,
    Play: _play,
    Export: _export,
    Envs: _envs,
    Check: _check,
}


def _spec(options: RunOptions, variant: str, ignored: Collection[str] = ()) -> Any:
    """The run that the options describe; a variant that has no use for a setting ignores it."""
    from rpo_jax.settings.spec import make_spec

    shared = {field.name: getattr(options, field.name) for field in dataclasses.fields(RunOptions)}
    given = given_settings(shared.pop("settings"))
    for name in ("out", "runs_at_once", "logger", "compilation_cache"):
        del shared[name]
    return make_spec(variant=variant, **shared, **{name: x for name, x in given.items() if name not in ignored})


def _prepare(options: RunOptions | Resume, console: Any) -> None:
    """Sets up the process: only a command does so, never an import."""
    from rpo_jax.execution.memory import check_runs_at_once
    from rpo_jax.loggers import check_loggers

    check_runs_at_once(options.runs_at_once)
    check_loggers(options.logger)
    _keep_programs(options, console)


def _keep_programs(options: RunOptions | Resume | Evaluate, console: Any) -> None:
    import jax

    from rpo_jax.compiling.probe import cache_folder

    if options.compilation_cache and (cache := cache_folder()):
        jax.config.update("jax_compilation_cache_dir", str(cache))
        console.print(f"compiled programs are kept in {cache} (--no-compilation-cache: not)", style="dim")


def _set_up_jax(cpu_devices: int | None = None) -> None:
    """Compiler options of the process and devices of a CPU: one per core if None. Not where JAX has started already,
    as where a program calls `main`.
    """
    from rpo_jax.execution.devices import use_cpu_cores

    with contextlib.suppress(SettingsError):
        use_cpu_cores(cpu_devices)


def _default_folder(env: str, name: str) -> Path:
    return Path("runs") / f"{env.replace('/', '-')}-{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _report(summaries: list[dict[str, Any]], labels: list[list[str]], path: Path) -> int:
    """Tells what runs with settings of these labels did, and gives the exit code; some may not have begun."""
    from rich.console import Console

    from rpo_jax.execution.memory import mebibytes
    from rpo_jax.runs.progress import results_table

    console = Console()
    console.print(results_table(summaries, labels[: len(summaries)]))
    total = sum(summary["train_seconds"] + summary["compile_seconds"] for summary in summaries)
    compiling = sum(summary["compile_seconds"] for summary in summaries)
    speed = ", ".join(f"{summary['env_steps_per_second']:,.0f}" for summary in summaries)
    console.print(
        f"{total:.1f} s, of which {compiling:.1f} s compilation; {speed} steps/s over all runs", highlight=False
    )
    for summary in summaries:
        runs = len(summary["settings"]) * len(summary["seeds"])
        calls = -(-runs // summary["runs_at_once"])
        cut = f"; {runs} runs in {calls} calls of {summary['runs_at_once']}" if calls > 1 else ""
        console.print(f"{summary['variant']}: {mebibytes(summary['bytes_per_run'])} of memory a run{cut}")
    for summary in summaries:
        if summary["evaluate_seconds"]:
            console.print(
                f"{summary['variant']}: evaluations took {summary['evaluate_seconds']:.1f} s beside "
                f"{summary['train_seconds']:.1f} s of training"
            )
        if summary["failure"]:
            console.print(
                f"an environment failed: {summary['failure']}", style="bold red", highlight=False, markup=False
            )
        for fault in summary["faults"]:
            console.print(
                f"{fault['run']} stopped in update {fault['update']}: its {fault['what']} became NaN or infinite; its "
                "policy is that of the update before",
                style="bold red",
                highlight=False,
                markup=False,
            )
        if summary["broken_episodes"]:
            console.print(f"{summary['broken_episodes']:,} episodes ended because the simulator gave NaN or infinity")
    interrupted = len(summaries) < len(labels) or any(summary["interrupted"] for summary in summaries)
    if interrupted:
        console.print("interrupted: the results are those of the updates done so far")
        console.print(f"to go on: rpo-jax resume {shlex.quote(str(path))}", highlight=False, soft_wrap=True)
    console.print(f"results: {path}", highlight=False, soft_wrap=True)
    if any(summary["failure"] for summary in summaries):
        return 1
    return 130 if interrupted else 0
