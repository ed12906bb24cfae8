"""Random keys: what every public function that takes them accepts."""

from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.errors import SettingsError

GENERATOR = "threefry2x32"

Tree = TypeVar("Tree")


def as_keys(keys: Any, ndim: int = 0, name: str = "key") -> jax.Array:
    """Checks random keys, and converts raw ones of `jax.random.PRNGKey`, [..., 2] uint32, to typed ones.

    Args:
        keys: random keys.
        ndim: number of axes that they must have: 0 for a single key, 1 for [N] of them.
        name: name of the argument.

    Returns:
        Typed keys of Threefry, of that number of axes.

    Raises:
        SettingsError: if they are not random keys of that number of axes, or are keys of another generator: under vmap
            the numbers that one key of `rbg` gives depend on the other keys.
    """
    if isinstance(keys, jax.Array | np.ndarray) and keys.dtype == np.uint32 and keys.shape[-1:] == (2,):
        keys = jax.random.wrap_key_data(jnp.asarray(keys), impl=GENERATOR)
    expected = "a random key, such as jax.random.key(seed)" if ndim == 0 else "random keys [N], such as seeds(0, N)"
    if not isinstance(keys, jax.Array) or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.ndim != ndim:
        raise SettingsError(f"{name} must be {expected}, and not {_describe(keys)}")
    if (generator := str(jax.random.key_impl(keys))) != GENERATOR:
        raise SettingsError(
            f"{name} must not be of generator {generator}, whose numbers under vmap depend on the other keys; take "
            f"jax.random.key(seed, impl={GENERATOR!r})"
        )
    return keys


def key_shape() -> Any:
    """Returns the shape and dtype of a random key, by which a function of one is traced."""
    return jax.eval_shape(partial(jax.random.key, impl=GENERATOR), 0)


def _describe(thing: Any) -> str:
    if not isinstance(thing, jax.Array | np.ndarray):
        return f"a {type(thing).__name__}"
    return f"{thing.dtype}{list(thing.shape)}"


def data_of_keys(tree: Tree) -> Tree:
    """Converts random keys in a tree of arrays, such as a training state, to their data.

    Args:
        tree: the arrays.

    Returns:
        The same tree, where the random keys are arrays of integers.
    """
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def with_keys(tree: Tree, like: Tree) -> Tree:
    """Inverse of `data_of_keys`.

    Args:
        tree: arrays, NumPy or JAX.
        like: arrays or their shapes and dtypes, with random keys.

    Returns:
        The tree, with random keys where `like` has some, of their implementation.
    """

    def wrap(x: np.ndarray, like: jax.Array) -> np.ndarray | jax.Array:
        kinds: list[Any] = []
        if not is_key(like):
            return x
        jax.eval_shape(lambda key: kinds.append(jax.random.key_impl(key)), like)
        return jax.random.wrap_key_data(jnp.asarray(x), impl=kinds[0])

    return jax.tree.map(wrap, tree, like)


def is_key(x: jax.Array) -> bool:
    """Returns whether an array `x` [...] holds random keys."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
