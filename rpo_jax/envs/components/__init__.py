"""vmap that takes every array apart into its components, each a vector over the batch.

Why: on a GPU each kernel costs a launch, a few microseconds, and a simulator's step has dozens: slices, transposes and
concatenations of small arrays, small products and sums that a compiler does not fuse. Taken apart, a position [3] is
three vectors [N]. What only moves numbers then vanishes while the program is traced, small products become sums of
vectors, and what is left is elementwise: a compiler fuses it into a few kernels.

What: a function is traced for a single call, and its program is interpreted (`interpret.py`) on `Value`s: arrays that
are the same for all of the batch and known, which are computed at once; parts, a NumPy array of vectors; and whole
arrays. Operations have rules (`operations.py`), and inner programs are interpreted in turn (`control.py`). A scan
carries the parts of its state as a few arrays.

When it falls back: what has no rule, or more than `MAX_PARTS` parts, goes through `jax.vmap` as whole arrays. So all
that `jax.vmap` takes is right here too.

What it costs: an operation for each component, in tracing and in compiling; on a CPU such programs are slower than
those of `vmap_last`. `benchmarks/compiled.py` counts what it saves.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rpo_jax.envs.components import control, operations
from rpo_jax.envs.components.interpret import RULES, run
from rpo_jax.envs.components.values import Value
from rpo_jax.envs.vmap_last import size_of_batch

RULES |= operations.RULES | control.RULES


def vmap_components(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap(function, in_axes=-1, out_axes=-1)` that takes arrays apart in between.

    Args:
        function: of arrays [...], at least one; may return any tree of arrays [...].

    Returns:
        The batched function, which takes and returns [..., N]. It raises a ValueError if the last axes of its arguments
        are not all of the same size.
    """

    def batched(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        leaves = list(map(jnp.asarray, leaves))
        size = size_of_batch(leaves)
        single = [jax.ShapeDtypeStruct(leaf.shape[:-1], leaf.dtype) for leaf in leaves]
        program, result = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(tree, single))
        values = run(program, size, [Value.of_whole(leaf) for leaf in leaves])
        return jax.tree.unflatten(jax.tree.structure(result), [value.whole(size) for value in values])

    return batched
