"""The numbers that describe an environment, checked: its action bounds and sizes."""

from typing import Any

import numpy as np

from rpo_jax.errors import SettingsError

LARGEST = np.iinfo(np.int32).max  # steps are counted in int32


def action_bounds(low: Any, high: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Checks action bounds, and rounds them to float32 towards the inside, so that no action is outside of them.

    Args:
        low: lower bounds [A].
        high: upper bounds [A].
        name: name of the environment.

    Returns:
        The bounds [A] float32.

    Raises:
        SettingsError: if they are not two vectors of the same length, a lower bound is above the upper one or is NaN,
            or no number of float32 is between them.
    """
    low, high = (_as_float64(bound, side, name) for bound, side in ((low, "low"), (high, "high")))
    if low.shape != high.shape or not low.size:
        raise SettingsError(
            f"{name} has {low.size} lower and {high.size} upper action bounds; there must be one of each for every "
            "action dimension, and one dimension at least"
        )
    for index in np.flatnonzero(~((low <= high) & (low < np.inf) & (high > -np.inf))):
        raise SettingsError(
            f"{name} has action bounds low={low[index]:g} and high={high[index]:g} of dimension {index}; low must be "
            "a number that is not above high"
        )
    lower, upper = _round(low, np.inf, np.less), _round(high, -np.inf, np.greater)
    for index in np.flatnonzero(lower > upper):
        raise SettingsError(
            f"{name} has action bounds {float(low[index])!r} and {float(high[index])!r} of dimension {index}, and no "
            "number of float32, in which rpo_jax computes, is between them; give wider ones, or remove that dimension"
        )
    return lower, upper


def check_sizes(observation_size: Any, time_limit: Any, name: str) -> None:
    """Checks the length of observations and of episodes.

    Args:
        observation_size: length of an observation, O.
        time_limit: steps after which an episode is truncated; None if there is no limit.
        name: name of the environment.

    Raises:
        SettingsError: if one of them is not a whole number, 1 or more, or does not fit into int32.
    """
    sizes = {"observation_size": observation_size, **({} if time_limit is None else {"time_limit": time_limit})}
    for field, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise SettingsError(f"{name} has {field}={size!r}; it must be a whole number, 1 or more")
        if size > LARGEST:
            raise SettingsError(f"{name} has {field}={size}; it must be {LARGEST} or less")


def _as_float64(bound: Any, side: str, name: str) -> np.ndarray:
    try:
        array = np.asarray(bound, np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or array.ndim != 1:
        raise SettingsError(
            f"{name} has {side}={bound!r}; it must be a vector with the {side}est value of every action dimension, "
            "such as np.array([-1.0])"
        )
    return array


def _round(bound: np.ndarray, inside: float, beyond: np.ufunc) -> np.ndarray:
    """Rounds to float32; one that is beyond the bound is replaced by its neighbour towards the inside."""
    with np.errstate(over="ignore"):
        rounded = bound.astype(np.float32)
    return np.where(beyond(rounded, bound), np.nextafter(rounded, np.float32(inside)), rounded)
