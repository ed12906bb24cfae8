"""vmap with the batch on the last axis of every array.

Why: a simulator's arrays are small; a body's position is 3 numbers. Under `jax.vmap` they become [N, bodies, 3], and a
compiler that vectorises over the last axis finds 3 numbers there. With the batch last, [bodies, 3, N], each operation
runs over N numbers that lie side by side.

What: a function is traced for a single call, and its program is interpreted, operation by operation, on arrays with the
batch last (`interpret.py`). Each kind of operation has a rule: elementwise ones and those on other axes need almost
none (`operations.py`), small products of matrices are multiplied and summed (`products.py`), and inner programs are
interpreted in turn (`control.py`). Values that are the same for all of the batch stay without it.

When it falls back: what has no rule, or none for its operands (an index of each environment's own, a `while` loop, a
sort, a large product), goes through `jax.vmap`, which brings the batch to the front and back. So everything that
`jax.vmap` takes is right here too, and an operation that is new to JAX costs speed only.

What it costs: tracing the function once, and each operation of its program again; and all branches of a `cond` that
differs by environment, as under `jax.vmap`. It reads what JAX documents loosely, the parameters of its operations, so a
new JAX has to be tried (`tests/test_batching.py` tries every rule).

When not to use it: to differentiate a function from outside, if it has derivatives of its own (`jax.custom_jvp`), for
the program of the function itself is differentiated instead; derivatives taken within the function are right. And where
`jax.vmap` is as fast: where arrays are large, or `while` loops take the time. `benchmarks/batching.py` measures which.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rpo_jax.envs.vmap_last import control, operations, products
from rpo_jax.envs.vmap_last.interpret import RULES, Value, run

RULES |= operations.RULES | products.RULES | control.RULES


def vmap_last(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap(function, in_axes=-1, out_axes=-1)` that keeps the batch last in between too.

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
        values = run(program, size, [Value(leaf, True) for leaf in leaves])
        return jax.tree.unflatten(jax.tree.structure(result), [value.spread(size) for value in values])

    return batched


def size_of_batch(leaves: Sequence[jax.Array]) -> int:
    """Returns the size N of the last axis of `leaves` [..., N]; raises a ValueError if it is not the same for all."""
    sizes = {leaf.shape[-1:] for leaf in leaves}
    if len(sizes) != 1 or () in sizes:
        shapes = ", ".join(str(leaf.shape) for leaf in leaves)
        raise ValueError(f"the last axis of every array is that of the batch, [..., N], but these are {shapes}")
    return sizes.pop()[0]
