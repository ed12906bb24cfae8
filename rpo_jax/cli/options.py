"""Command-line options generated from the settings: one for each field, with the same name."""

import ast
import dataclasses
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Annotated, Any, get_args, get_origin

import tyro

from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.errors import SettingsError
from rpo_jax.settings.presets import get_preset

NOT_GIVEN = "the preset's"

# The type and the help text of each setting.
_KINDS: dict[str, tuple[Any, str]] = {
    field.name: (field.type, field.metadata["doc"]) for field in dataclasses.fields(TrainConfig)
}
_shown: dict[str, Any] = {}  # the values that the help shows, once `show_preset` has put the preset's name at ""


def add_hyperparams(fields: Iterable[dataclasses.Field]) -> None:
    """Adds options for hyperparameters, each of which accepts several values.

    Args:
        fields: fields of `Hyperparams`, or those that a method of the user adds.
    """
    for field in fields:
        _KINDS[field.name] = (tuple[float, ...], f"{field.metadata['doc']}; several values make a sweep")
        _shown[field.name] = field.default


add_hyperparams(dataclasses.fields(Hyperparams))


def option_names() -> set[str]:
    """Returns the names of all settings that have an option."""
    return set(_KINDS)


def no_settings() -> Any:
    """Returns a dataclass with an option for each setting, none of them given.

    Options are text, so that errors can be reported clearly.
    """
    fields = []
    for name, (kind, doc) in _KINDS.items():
        several = get_origin(kind) is tuple
        argument = tyro.conf.arg(help=doc, metavar=_metavar(kind), help_behavior_hint=partial(_hint, name))
        text = Annotated[tuple[str, ...] if several else str, argument]
        fields.append((name, text, dataclasses.field(default=(NOT_GIVEN,) if several else NOT_GIVEN)))
    return dataclasses.make_dataclass("Settings", fields)()


def show_preset(name: str, env: str) -> None:
    """Makes the help show the values of a preset, in this process.

    Args:
        name: name of the preset.
        env: name of the environment.

    Raises:
        SettingsError: if no preset has that name.
    """
    preset = get_preset(name, env)
    _shown.update({"": name, **vars(preset.config), **vars(preset.hyperparams)})


def _hint(name: str, _: str) -> str:
    if "" not in _shown or name not in _shown:
        return ""
    value = _shown[name]
    text = "not given" if value in (None, ()) else " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"({_shown['']}: {text})"


def given_settings(options: Any) -> dict[str, Any]:
    """Returns the settings that were given; does not check ranges.

    Args:
        options: the dataclass of `no_settings`, with texts.

    Returns:
        Values by name.

    Raises:
        SettingsError: if an option does not have the setting's type.
    """
    texts = {name: text for name, text in vars(options).items() if text not in (NOT_GIVEN, (NOT_GIVEN,))}
    return {name: _parse(name, _KINDS[name][0], text) for name, text in texts.items()}


def parse_choices(name: str, text: str) -> list[Any]:
    """Parses several values of a field of `TrainConfig`, such as "64x64,128x128" of its sizes.

    Args:
        name: name of the field.
        text: values with commas between them.

    Raises:
        SettingsError: if a value is not of the field's type, or one is given twice.
    """
    kind = _KINDS[name][0]
    texts = text.split(",")
    values = [_parse(name, kind, tuple(one.split("x")) if get_origin(kind) is tuple else one) for one in texts]
    if len(set(values)) < len(values):
        raise SettingsError(f"{name}={text} names a value twice")
    return values


def given_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Returns arguments of an environment by name, from texts NAME=VALUE; what is not a Python literal is text.

    Raises:
        SettingsError: if there is no NAME or no VALUE, or a name is given twice.
    """
    arguments: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name.isidentifier() or not value or name in arguments:
            raise SettingsError(f"--env-arg {text} is not understood; give NAME=VALUE, such as g=5.0, each name once")
        try:
            arguments[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[name] = _TRUTH.get(value.lower(), value)
    return arguments


def _metavar(kind: Any) -> str | None:
    if get_origin(kind) is tuple:
        return f"{_metavar(get_args(kind)[0])} ..."
    names = {int: "INT", float: "NUMBER", bool: "True|False"}
    return names.get(kind) or "|".join(map(str, get_args(kind)))


def _parse(name: str, kind: Any, text: Any) -> Any:
    if get_origin(kind) is tuple:
        if "," in (given := " ".join(text)):
            example = f"--{name.replace('_', '-')} {' '.join(given.replace(',', ' ').split())}"
            raise SettingsError(f"{name}={given} has commas; put spaces between values: {example}")
        return tuple(_parse(name, get_args(kind)[0], item) for item in text)
    if kind not in _PARSERS:
        return text
    parse, expected = _PARSERS[kind]
    try:
        return parse(text)
    except (ValueError, KeyError, InvalidOperation):
        raise SettingsError(f"{name}={text!r} is not {expected}") from None


def parse_whole_number(name: str, text: str) -> int:
    """Parses a whole number `text` of an option `name`, such as "5e7"; raises a SettingsError if it is none."""
    return _parse(name, int, text)


def _whole_number(text: str) -> int:
    """Parses a whole number; accepts "1e6" too."""
    number = Decimal(text)
    if not number.is_finite() or number.adjusted() > 30 or number != number.to_integral_value():
        raise ValueError(text)
    return int(number)


def _truth(text: str) -> bool:
    return _TRUTH[text.lower()]


_TRUTH = {"true": True, "false": False}
_PARSERS = {int: (_whole_number, "a whole number"), float: (float, "a number"), bool: (_truth, "True or False")}
