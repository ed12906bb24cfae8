"""Hyperparameter settings and seeds of a sweep, as arrays."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.config import Hyperparams, check_hyperparams, field_names
from rpo_jax.algorithm.fields import check_values
from rpo_jax.errors import SettingsError, one_line, unknown_name
from rpo_jax.keys import GENERATOR

MAX_SEEDS = 1_000_000
MAX_SETTINGS = 100_000


def seeds(first: int, count: int) -> jax.Array:
    """Creates the random keys of the seeds `first ... first + count - 1`, each equal to `jax.random.key(seed)`.

    Args:
        first: the first seed.
        count: number of seeds, S.

    Returns:
        Random keys [S].

    Raises:
        SettingsError: if the number of seeds is not positive, or a seed is negative or above 2^32 - 1.
    """
    check_seeds(first, count)
    # Always Threefry: under vmap, other generators do not give each seed an independent stream.
    make_key = partial(jax.random.key, impl=GENERATOR)
    return jax.vmap(make_key)(jnp.arange(first, first + count, dtype=jnp.uint32))


def check_seeds(first: int, count: int) -> None:
    """Raises a SettingsError if `count`, the number of seeds, or a seed from `first` on cannot be used."""
    check_whole("the first seed", first)
    check_whole("the number of seeds", count)
    if count < 1:
        raise SettingsError(f"the number of seeds is {count}; it must be 1 or more")
    if count > MAX_SEEDS:
        raise SettingsError(f"the number of seeds is {count}; it must be {MAX_SEEDS} or less")
    if first < 0 or first + count > 2**32:
        raise SettingsError(f"seeds {first} ... {first + count - 1} are out of range: 0 ... {2**32 - 1}")


def check_whole(what: str, value: Any) -> None:
    """Checks that a value is a whole number.

    Args:
        what: what it is, such as "the number of seeds".
        value: the value.

    Raises:
        SettingsError: if it is not.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise SettingsError(f"{what} is {value!r}; it must be a whole number")


def check_settings(count: int) -> None:
    """Raises a SettingsError if the number of settings, `count`, is no whole number or out of range."""
    check_whole("the number of settings", count)
    if not 1 <= count <= MAX_SETTINGS:
        raise SettingsError(f"the number of settings is {count:,}; it must be 1 ... {MAX_SETTINGS:,}")


def grid(base: Hyperparams | None = None, /, **values: Sequence[float] | float) -> Hyperparams:
    """Combines all given values into one `Hyperparams` with leaves [H]; the last name varies fastest.

    Args:
        base: values of the other hyperparameters; the defaults if None. Of a method that adds some, its
            `hyperparams_type()`.
        **values: one or several values for each named hyperparameter.

    Returns:
        H hyperparameter settings, leaves [H].

    Raises:
        SettingsError: if the base is no `Hyperparams`, a name is unknown, a value out of range, or there are too many
            combinations.
    """
    base = check_base(base, values)
    fields = {field.name: field for field in dataclasses.fields(base)}
    lists = [_distinct_numbers(fields[name], value) for name, value in values.items()]
    check_settings(math.prod(map(len, lists)))
    combinations = list(itertools.product(*lists))  # H tuples
    columns = {name: np.asarray(column) for name, column in zip(values, zip(*combinations, strict=True), strict=True)}
    return join_columns(base, columns, len(combinations))


def check_base(base: Hyperparams | None, names: Iterable[str]) -> Hyperparams:
    """Checks the record to whose hyperparameters several values are given.

    Args:
        base: a single setting; the defaults if None.
        names: names of the hyperparameters to which values are given.

    Returns:
        The record.

    Raises:
        SettingsError: if it is no single setting, or has no hyperparameter of a name.
    """
    base = Hyperparams() if base is None else base
    if not isinstance(base, Hyperparams):
        raise SettingsError(f"the base of a grid is a record, such as Hyperparams(), and not {one_line(base, 60)}")
    fields = field_names(base)
    for name in names:
        if name not in fields:
            own = "; one of your own needs its class, as in grid(Own(), ...)" if type(base) is Hyperparams else ""
            raise SettingsError(f"{unknown_name('hyperparameter', name, fields)}{own}")
    for name in fields:
        if np.ndim(getattr(base, name)):
            raise SettingsError(f"the base of a grid is a single setting, but its {name} holds several values")
    return base


def join_columns(base: Hyperparams, columns: Mapping[str, np.ndarray], count: int) -> Hyperparams:
    """Puts columns of numbers into a record.

    Args:
        base: values of the other hyperparameters, a single setting.
        columns: H numbers of each named hyperparameter [H].
        count: their number, H.

    Returns:
        H hyperparameter settings, float32 leaves [H].

    Raises:
        SettingsError: if a number is out of range.
    """
    settings = dataclasses.replace(base, **columns)
    with np.errstate(over="ignore"):
        settings = jax.tree.map(lambda x: np.broadcast_to(np.float32(x), (count,)), settings)
    check_hyperparams(settings)  # again, because conversion to float32 can give 0 or infinity
    return settings


def settings_from(rows: Sequence[Mapping[str, float]], base: Hyperparams | None = None, /) -> Hyperparams:
    """Joins settings that were written one by one into one `Hyperparams`.

    Args:
        rows: H settings, each with a number for the same hyperparameters, such as
            `[{"learning_rate": 1e-3, "rpo_alpha": 0.5}, {"learning_rate": 3e-3, "rpo_alpha": 0.1}]`.
        base: values of the other hyperparameters; the defaults if None. Of a method that adds some, its
            `hyperparams_type()`.

    Returns:
        H hyperparameter settings, leaves [H].

    Raises:
        SettingsError: if there is no row, the rows name different hyperparameters, two are equal, a name is unknown or
            a value out of range.
    """
    check_settings(len(rows))
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or not row or set(row) != set(rows[0]):
            raise SettingsError(
                f"setting {number} is {one_line(row, 60)}; each must give a number for the same hyperparameters, which "
                f"are {', '.join(rows[0]) if isinstance(rows[0], Mapping) and rows[0] else 'those of the first'}"
            )
    base = check_base(base, rows[0])
    for field in dataclasses.fields(base):
        if field.name in rows[0]:
            check_values(field, [row[field.name] for row in rows])
    columns = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    settings = join_columns(base, columns, len(rows))
    different = {tuple(float(np.ravel(x)[index]) for x in jax.tree.leaves(settings)) for index in range(len(rows))}
    if len(different) < len(rows):
        raise SettingsError(f"of {len(rows)} settings only {len(different)} differ; give each once")
    return settings


def _distinct_numbers(field: dataclasses.Field, value: Sequence[float] | float) -> list[float]:
    items: Any = value.tolist() if isinstance(value, np.ndarray | np.generic | jax.Array) else value
    items = list(items) if isinstance(items, Sequence) and not isinstance(items, str) else [items]
    check_values(field, items)
    with np.errstate(over="ignore"):
        different = {np.float32(str(item)) for item in items}
    if not items or len(different) < len(items):
        raise SettingsError(f"{field.name}={items} needs one value, or several that differ")
    return items


def num_settings(hyperparams: Hyperparams) -> int:
    """Returns the number of settings of a grid `hyperparams`, H."""
    return np.size(hyperparams.learning_rate)


def settings_list(hyperparams: Hyperparams) -> list[dict[str, float | None]]:
    """Returns the H settings of a grid `hyperparams` as plain dictionaries."""
    fields = {name: getattr(hyperparams, name) for name in field_names(hyperparams)}
    return [
        {
            name: None if value is None else float(str(np.float32(np.ravel(value)[index])))
            for name, value in fields.items()
        }
        for index in range(num_settings(hyperparams))
    ]
