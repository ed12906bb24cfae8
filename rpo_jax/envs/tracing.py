"""How the functions of a simulator are traced: in full precision, and once."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun

from rpo_jax.keys import key_shape
from rpo_jax.typing import PyTree


def in_full_precision(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function compute products in float32, unless the user has set JAX's own precision.

    TF32 and bfloat16, which are usual on accelerators, hurt physics.

    Args:
        function: the function.

    Returns:
        The same function, traced in that precision.
    """

    def run(*args: Any) -> Any:
        with jax.default_matmul_precision(jax.config.jax_default_matmul_precision or "highest"):  # pyright: ignore[reportAttributeAccessIssue]
            return function(*args)

    return run


def traced(init: Callable[[jax.Array], PyTree]) -> Callable[[jax.Array], PyTree]:
    """Traces a function of a random key now, so that its errors are raised now, and it is traced no second time.

    Args:
        init: the function.

    Returns:
        The same function, in full precision.
    """
    key = key_shape()
    program, shapes = jax.make_jaxpr(in_full_precision(init), return_shape=True)(key)
    structure = jax.tree.structure(shapes)
    return lambda key: structure.unflatten(jaxpr_as_fun(program)(key))
