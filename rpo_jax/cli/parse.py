"""Parsing of the command line into a dataclass of `commands`, with errors of one line."""

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
from importlib.metadata import entry_points

import tyro

from rpo_jax.cli.commands import COMMANDS, Command, RunOptions
from rpo_jax.cli.job import complete
from rpo_jax.cli.options import add_hyperparams, option_names, show_preset
from rpo_jax.cli.process import set_up_jax
from rpo_jax.errors import SettingsError, unknown_name
from rpo_jax.registry import GROUP
from rpo_jax.settings.aliases import ALIASES, RELATIONS
from rpo_jax.settings.bounds import MAX_EPISODES, MAX_EVALUATIONS, MAX_STEPS, check_range

HELP = {"-h", "--help"}
TRAINING = ("train", "compare", "search")  # the commands that take settings
PLAIN = {  # words for those of the parser
    r"Unrecognized options: (?=[^-])": "unexpected argument: ",
    r"invalid literal for int\(\) with base 10: ('.*?')": r"\1 is not a whole number",
    r"could not convert string to float: ('.*?')": r"\1 is not a number",
    r"no type matching \S+ could be instantiated from \[(.*?)\]": r"\1 cannot be its value",
}
BOUNDS = {  # of options that are whole numbers
    "num_evaluations": (0, MAX_EVALUATIONS),
    "evaluation_episodes": (1, MAX_EPISODES),
    "num_episodes": (1, MAX_EPISODES),
    "max_steps": (1, MAX_STEPS),
    "num_threads": (1, 2**16),
    "runs_at_once": (1, 2**31),
}


def parse(arguments: list[str]) -> Command:
    """Parses the `arguments` into the dataclass of their subcommand.

    Raises:
        SettingsError: if the arguments are invalid.
        SystemExit: for --help.
    """
    arguments = complete(arguments)
    _add_own_options(arguments)
    _check_names(arguments)
    if HELP & set(arguments):
        _show_values([word for word in arguments if word not in HELP])
    command = _parse(arguments)
    for name, (low, high) in BOUNDS.items():
        if (value := getattr(command, name, None)) is not None:
            check_range(name, value, low, high)
    return command


def _add_own_options(arguments: list[str]) -> None:
    """Adds the hyperparameters of the user's methods, if the help is asked for or an option can only be theirs."""
    if not arguments or arguments[0] not in TRAINING:
        return
    known = _option_names(RunOptions) | {"variant", "variants", "shard"}
    unknown = any(word.startswith("--") and _name_of(word) not in known for word in arguments)
    if not (unknown or HELP & set(arguments)):
        return
    if (imports := _imports(arguments)) or entry_points(group=GROUP):
        set_up_jax(imports)
        from rpo_jax.algorithm.variants import VARIANTS

        VARIANTS.import_all()
        for name in VARIANTS.registered:
            add_hyperparams(VARIANTS[name].own_fields())


def _imports(arguments: list[str]) -> tuple[str, ...]:
    """The modules given by --import; tyro tells of one that is missing."""
    after = [following for word, following in itertools.pairwise(arguments) if word == "--import"]
    joined = [word.removeprefix("--import=") for word in arguments if word.startswith("--import=")]
    return tuple(name for name in (*after, *joined) if name and not name.startswith("-"))


def _show_values(arguments: list[str]) -> None:
    """Makes the help show the values that the preset has for the environment, where the arguments can be used."""
    with contextlib.suppress(SettingsError):
        command = _parse(arguments)
        if isinstance(command, RunOptions):
            show_preset(command.preset, command.env)


def _parse(arguments: list[str]) -> Command:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                tyro.conf.OmitArgPrefixes[Command],  # pyright: ignore[reportArgumentType]
                prog="rpo-jax",
                description="Robust Policy Optimization for continuous control, in JAX.",
                args=arguments,
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        raise SettingsError(_first_paragraph(complaint.getvalue())) from None


def _first_paragraph(box: str) -> str:
    """Returns the text of tyro's framed message up to its rule, as one line without colours and frame."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│ ") for line in plain.splitlines()][1:]  # after its title

    def is_rule(line: str) -> bool:
        return not line.strip("─╰╯-")

    paragraph = itertools.takewhile(lambda line: not is_rule(line), itertools.dropwhile(is_rule, lines))
    text = " ".join(paragraph).rstrip(".")
    for pattern, plain in PLAIN.items():
        text = re.sub(pattern, plain, text)
    return f"{text}; see --help"


def _check_names(arguments: list[str]) -> None:
    """Raises a SettingsError for an unknown command or option, with suggestions."""
    commands = {command.__name__.lower(): command for command in COMMANDS}
    if not arguments or arguments[0] in ("-h", "--help"):
        return
    if arguments[0].startswith("-"):
        raise SettingsError(f"the command comes before its options: rpo-jax {'|'.join(commands)} [OPTIONS]")
    if arguments[0] not in commands:
        raise unknown_name("command", arguments[0], commands)
    known = _option_names(commands[arguments[0]])
    for argument in arguments[1:]:
        name = _name_of(argument)
        if argument.startswith("--") and name not in known:
            if name in ("env", "env-id", "environment"):
                raise SettingsError(f"--{name} is not an option: the environment comes first, as in rpo-jax train ENV")
            alias = name.replace("-", "_")
            other = ALIASES.get(alias, "").replace("_", "-")
            near = [other] if other in known else difflib.get_close_matches(name, known, n=3)
            if not near:
                raise SettingsError(
                    f"unknown setting --{name}; rpo-jax {arguments[0]} --help lists those that there are"
                )
            relation = f", which is {RELATIONS[alias]}" if other in known and alias in RELATIONS else ""
            can_be_own = arguments[0] in TRAINING and other not in known and not _imports(arguments)
            own = "; --import MODULE adds those of your own methods" if can_be_own else ""
            raise SettingsError(
                f"unknown setting --{name}; did you mean {' or '.join('--' + n for n in near)}{relation}?{own}"
            )


def _name_of(word: str) -> str:
    return word.partition("=")[0].removeprefix("--").replace("_", "-")


def _option_names(command: type) -> set[str]:
    fields = {field.name for field in dataclasses.fields(command)}
    names = {{"imports": "import", "rows": "settings"}.get(name, name) for name in fields}
    if "settings" in fields:
        names |= option_names()
    flags = {f"no-{name}" for name in names & {"compilation_cache", "sample", "best", "open", "long", "dry_run"}}
    return {name.replace("_", "-") for name in names | flags | {"help"}}
