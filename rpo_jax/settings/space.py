"""Ranges of hyperparameters, and settings that are drawn from them."""

import dataclasses
import math
from typing import NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.fields import check_values
from rpo_jax.errors import SettingsError
from rpo_jax.keys import as_keys
from rpo_jax.settings.grid import check_base, check_settings, join_columns


class Uniform(NamedTuple):
    """Numbers between two others, all as likely.

    Attributes:
        low: smallest number.
        high: largest number.
        log: whether it is their orders of magnitude that are as likely.
    """

    low: float
    high: float
    log: bool = False

    def at(self, share: np.ndarray) -> np.ndarray:
        """Returns the numbers below which a `share` of the distribution lies, in [0, 1]."""
        if self.log:
            return np.clip(self.low * (self.high / self.low) ** share, self.low, self.high)
        return self.low + (self.high - self.low) * share

    def __str__(self) -> str:
        return f"{'log:' if self.log else ''}{self.low:g}:{self.high:g}"


class Choice(NamedTuple):
    """One of several numbers, each as often.

    Attributes:
        values: the numbers.
    """

    values: tuple[float, ...]

    def at(self, share: np.ndarray) -> np.ndarray:
        """Returns the numbers below which a `share` of the distribution lies, in [0, 1]."""
        index = np.minimum(np.floor(share * len(self.values)), len(self.values) - 1)
        return np.asarray(self.values, float)[index.astype(int)]

    def __str__(self) -> str:
        return ",".join(f"{value:g}" for value in self.values)


Distribution = Uniform | Choice


def uniform(low: float, high: float) -> Uniform:
    """Creates a range all of whose numbers are as likely.

    Args:
        low: smallest number.
        high: largest number.

    Returns:
        The range, for `sample_settings`.

    Raises:
        SettingsError: if `low` is not below `high`, or one is not finite.
    """
    return _range(low, high, log=False)


def loguniform(low: float, high: float) -> Uniform:
    """Creates a range all of whose orders of magnitude are as likely, as learning rates need it.

    Args:
        low: smallest number, above 0.
        high: largest number.

    Returns:
        The range, for `sample_settings`.

    Raises:
        SettingsError: if `low` is not below `high` or not above 0, or one is not finite.
    """
    return _range(low, high, log=True)


def choice(*values: float) -> Choice:
    """Creates a list of numbers, each as likely.

    Args:
        *values: one or several numbers that differ.

    Returns:
        The choice, for `sample_settings`.

    Raises:
        SettingsError: if there is none, or two are equal.
    """
    if not values or not all(map(_is_number, values)) or len(set(values)) < len(values):
        raise SettingsError(f"choice{values} needs one number, or several that differ, as choice(0.9, 0.99)")
    return Choice(tuple(x.item() if isinstance(x, np.number) else x for x in values))


def _range(low: float, high: float, log: bool) -> Uniform:
    name = "loguniform" if log else "uniform"
    if not (_is_number(low) and _is_number(high)) or not low < high:
        raise SettingsError(f"{name}({low!r}, {high!r}) needs two finite numbers, the smaller one first")
    if log and low <= 0:
        raise SettingsError(f"loguniform({low!r}, {high!r}) needs numbers above 0; uniform takes others")
    return Uniform(float(low), float(high), log)


def _is_number(x: object) -> bool:
    return isinstance(x, int | float | np.number) and not isinstance(x, bool) and math.isfinite(x)


# Where `rpo-jax search` looks unless it is told otherwise: wide enough for the tasks of the presets (Andrychowicz et
# al. 2021, arXiv 2006.05990, appendix B, and the paper's range of alpha), and not so wide that most of it fails.
DEFAULT_RANGES: dict[str, Distribution] = {
    "learning_rate": loguniform(1e-4, 1e-2),
    "value_learning_rate": loguniform(1e-4, 1e-2),
    "gamma": choice(0.95, 0.97, 0.98, 0.99, 0.995),
    "gae_lambda": uniform(0.8, 0.99),
    "clip_epsilon": uniform(0.1, 0.4),
    "value_coefficient": loguniform(0.1, 2.0),
    "entropy_coefficient": loguniform(1e-5, 3e-2),
    "max_grad_norm": loguniform(0.1, 10.0),
    "rpo_alpha": uniform(0.0, 1.0),
    "target_kl": loguniform(0.005, 0.5),
    "adam_epsilon": loguniform(1e-8, 1e-4),
    "drac_coefficient": loguniform(0.01, 1.0),
    "log_std": uniform(-2.0, 0.5),
    "min_log_std": uniform(-2.0, 0.5),
}


def sample_settings(
    count: int, key: jax.Array, base: Hyperparams | None = None, /, **space: Distribution
) -> Hyperparams:
    """Draws settings that cover ranges of hyperparameters evenly: scrambled Sobol points (Owen 1998), by SciPy.

    The first settings are the same however many are drawn.

    Args:
        count: number of settings, H; a power of two covers the ranges best.
        key: random key of the draw.
        base: values of the other hyperparameters; the defaults if None. Of a method with hyperparameters of its own,
            its `hyperparams_type()`.
        **space: the range of each named hyperparameter, from `uniform`, `loguniform` or `choice`.

    Returns:
        H hyperparameter settings, leaves [H].

    Raises:
        SettingsError: if no range is given, a name is unknown, a range goes beyond what the hyperparameter can be, or
            the number of settings is out of range.
    """
    base = check_base(base, space)
    check_settings(count)
    check_space(base, space)
    shares = _points(count, len(space), key)
    columns = {name: ranged.at(share) for (name, ranged), share in zip(space.items(), shares.T, strict=True)}
    return join_columns(base, columns, count)


def check_space(base: Hyperparams, space: dict[str, Distribution]) -> None:
    """Checks that there are ranges, and that they hold nothing that the hyperparameters cannot be.

    Args:
        base: the record of the hyperparameters.
        space: ranges by name.

    Raises:
        SettingsError: if there is none, or one does.
    """
    if not space:
        raise SettingsError("no range is given; give one or more, such as learning_rate=loguniform(1e-4, 1e-2)")
    fields = {field.name: field for field in dataclasses.fields(base)}
    for name, ranged in space.items():
        if not isinstance(ranged, Distribution):
            raise SettingsError(f"{name}={ranged!r} is no range; give uniform(LOW, HIGH), loguniform or choice")
        numbers = list(ranged.values) if isinstance(ranged, Choice) else [ranged.low, ranged.high]
        check_values(fields[name], numbers)
        with np.errstate(over="ignore"):
            rounded = np.array(numbers, np.float32)
        if lost := [x for x, y in zip(numbers, rounded, strict=True) if not np.isfinite(y) or (x != 0) != (y != 0)]:
            raise SettingsError(f"{name}={lost[0]!r} is beyond the numbers of float32, 1e-45 ... 3e38")


def _points(count: int, dimensions: int, key: jax.Array) -> np.ndarray:
    """Scrambled Sobol points [count, dimensions] in [0, 1)."""
    from scipy.stats import qmc  # takes half a second to import

    (seed,) = np.asarray(jax.random.bits(as_keys(key, 0, "key"), (1, 4)))
    points = qmc.Sobol(dimensions, rng=np.random.default_rng(seed))
    return points.random_base2(math.ceil(math.log2(count)))[:count]
