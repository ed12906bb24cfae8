"""JAX's settings of one thread, such as that of `with jax.enable_x64(True)`, which other threads do not inherit."""

import contextlib
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import jax

Result = TypeVar("Result")

# Each setting that a block can change, with the function of JAX that begins such a block; without the one that forbids
# all other threads.
BLOCKS: dict[str, Callable[[Any], contextlib.AbstractContextManager]] = {
    name: getattr(jax, name.removeprefix("jax_"))
    for name in jax.config.values
    if hasattr(jax, name.removeprefix("jax_")) and name != "jax_thread_guard"
}


def inherit(function: Callable[[], Result]) -> Callable[[], Result]:
    """Makes a function have JAX's settings of the present thread in any other.

    Args:
        function: the function.

    Returns:
        The same function, to be called in another thread.
    """
    settings = {name: getattr(jax.config, name) for name in BLOCKS}

    @wraps(function)
    def call() -> Result:
        with contextlib.ExitStack() as stack:
            for name, value in settings.items():
                if getattr(jax.config, name) != value:
                    stack.enter_context(BLOCKS[name](value))
            return function()

    return call
