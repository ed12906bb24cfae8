"""Environments that were made before, and what was traced of them."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec

import jax

from rpo_jax.envs.protocol import Environment

PLAIN = (bool, int, float, str, type(None))

Options = ParamSpec("Options")


def remember(make: Callable[Options, Environment]) -> Callable[Options, Environment]:
    """Makes a function return the environment that it made of the same numbers and names before.

    Agents of the same task then share what is traced of its physics, which takes seconds.

    Args:
        make: makes an environment of pure functions.

    Returns:
        The function. It makes another one of other arguments, such as arrays, and where JAX has its other precision.
    """

    @lru_cache(maxsize=16, typed=True)
    def once(double: bool, /, *args: Any, **options: Any) -> Environment:
        return make(*args, **options)

    @wraps(make)
    def find(*args: Options.args, **options: Options.kwargs) -> Environment:
        if all(isinstance(value, PLAIN) for value in (*args, *options.values())):
            return once(jax.config.jax_enable_x64, *args, **options)  # pyright: ignore[reportAttributeAccessIssue]
        return make(*args, **options)

    return find
