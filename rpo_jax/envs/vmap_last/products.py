"""The rule of products of matrices."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from rpo_jax.envs.vmap_last.interpret import Rule, Value, batched

MAX_SUMMED = 16  # products that are summed without a product of matrices
# Numbers of a result that is made so: the largest that was measured, 64 x 64, twice to ten times as fast on a CPU as by
# `jax.vmap`. Compilers that do not fuse the sum hold `MAX_SUMMED` times as many numbers of each environment.
MAX_RESULT = 4096


def _dot_general(equation: Any, size: int, x: Value, y: Value) -> Any:
    """Few products of a small result are multiplied and summed; `jax.vmap` makes products of matrices of the rest."""
    (x_summed, y_summed), (x_shared, y_shared) = equation.params["dimension_numbers"]
    x_shape, y_shape = (atom.aval.shape for atom in equation.invars)
    exact = equation.params["preferred_element_type"] in (None, equation.invars[0].aval.dtype)
    few = math.prod(x_shape[axis] for axis in x_summed) <= MAX_SUMMED
    if not (exact and few and math.prod(equation.outvars[0].aval.shape) <= MAX_RESULT):
        return NotImplemented

    def own(shape: tuple[int, ...], *others: Sequence[int]) -> list[int]:
        return [axis for axis in range(len(shape)) if not any(axis in other for other in others)]

    def arranged(value: Value, shape: tuple[int, ...], *axes: Sequence[int] | int) -> jax.Array:
        """The axes in this order and then the batch; a number stands for so many axes of size 1."""
        order = [axis for group in axes if not isinstance(group, int) for axis in group]
        sizes = [[1] * group if isinstance(group, int) else [shape[axis] for axis in group] for group in axes]
        array = value.array if value.batched else jnp.asarray(value.array)[..., None]
        return lax.transpose(array, (*order, len(shape))).reshape((*itertools.chain(*sizes), array.shape[-1]))

    x_own, y_own = own(x_shape, x_summed, x_shared), own(y_shape, y_summed, y_shared)
    products = arranged(x, x_shape, x_shared, x_own, len(y_own), x_summed) * arranged(
        y, y_shape, y_shared, len(x_own), y_own, y_summed
    )
    first = len(x_shared) + len(x_own) + len(y_own)
    return batched([products.sum(range(first, first + len(x_summed)), dtype=products.dtype)])


RULES: dict[str, Rule] = {"dot_general": _dot_general}
