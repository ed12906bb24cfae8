"""Parameters as few arrays, for the optimiser: small ones are joined, large ones stay as they are."""

from collections.abc import Callable

import jax
from jax.flatten_util import ravel_pytree

from rpo_jax.algorithm.types import Params

LARGE = 8192  # entries; measured on a CPU: such an array costs less by itself than joined to a vector and cut out again

Weights = list[jax.Array]


def join_small(params: Params, large: float = LARGE) -> tuple[Weights, Callable[[Weights], Params]]:
    """Joins the small ones of the parameters' arrays, so that an optimiser needs few operations.

    Arrays of different types are all joined, since the vector has the type to which they are promoted.

    Args:
        params: parameters.
        large: number of entries from which an array is not joined.

    Returns:
        A vector of all small arrays, followed by the large ones; and the function that makes parameters of such a list.
    """
    leaves, structure = jax.tree.flatten(params)
    of_one_type = len({leaf.dtype for leaf in leaves}) == 1
    is_large = [of_one_type and leaf.size >= large for leaf in leaves]
    vector, cut = ravel_pytree([leaf for leaf, alone in zip(leaves, is_large, strict=True) if not alone])

    def as_params(weights: Weights) -> Params:
        small, others = iter(cut(weights[0])), iter(weights[1:])
        return structure.unflatten([next(others if alone else small) for alone in is_large])

    return [vector, *(leaf for leaf, alone in zip(leaves, is_large, strict=True) if alone)], as_params
