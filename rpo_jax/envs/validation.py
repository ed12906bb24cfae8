"""What the functions of a user's `Dynamics` return: checked, and converted where its meaning is plain."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.envs.protocol import Dynamics, Successor
from rpo_jax.errors import SettingsError
from rpo_jax.typing import PyTree

NUMBERS = (jnp.floating, jnp.integer, jnp.bool_)


def validated(dynamics: Dynamics, name: str, observation_size: int) -> Dynamics:
    """Adds checks to dynamics, which are made when they are traced and cost nothing later.

    Observations and rewards of any real type become float32, and flags of any real type become bool, true where they
    are not 0. Axes are added and removed where the number of elements is right, such as of a reward [1].

    Args:
        dynamics: one environment.
        name: name of the environment, for errors.
        observation_size: length of an observation, O.

    Returns:
        The dynamics. They raise a `SettingsError` that names what they returned and must not return.
    """

    def init(key: jax.Array) -> tuple[PyTree, jax.Array]:
        state, obs = _unpack(dynamics.init(key), ("state", "obs"), f"init of {name}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float):
                raise SettingsError(
                    f"init of {name} returns state{jax.tree_util.keystr(path)} as a {type(leaf).__name__}; the state "
                    "must be a tree of arrays and numbers"
                )
        return state, _reals(obs, (observation_size,), f"init of {name}", "obs")

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> tuple[PyTree, Successor]:
        where = f"step of {name}"
        following, successor = _unpack(dynamics.step(key, state, action), ("state", "Successor"), where)
        obs, reward, terminated, truncated = _unpack(successor, Successor._fields, where)
        _check_state(state, following, name)
        return following, Successor(
            _reals(obs, (observation_size,), where, "obs"),
            _reals(reward, (), where, "reward"),
            _flag(terminated, where, "terminated"),
            _flag(truncated, where, "truncated"),
        )

    return Dynamics(init, step)


def _unpack(result: Any, names: tuple[str, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(result, tuple | list) or len(result) != len(names):
        what = f"{len(result)} values" if isinstance(result, tuple | list) else f"a {type(result).__name__}"
        raise SettingsError(f"{where} returns {what}, and must return ({', '.join(names)})")
    return tuple(result)


def _reals(thing: Any, shape: tuple[int, ...], where: str, field: str) -> jax.Array:
    array = _array(thing, shape, where, field)
    return array.astype(jnp.float32)


def _flag(thing: Any, where: str, field: str) -> jax.Array:
    array = _array(thing, (), where, field)
    return array if array.dtype == jnp.bool_ else array != 0


def _array(thing: Any, shape: tuple[int, ...], where: str, field: str) -> jax.Array:
    """Converts to an array of that shape, which may have come with other axes but the same number of elements."""
    expected = f"and must be {_words(shape)}"
    try:
        array = jnp.asarray(thing)
    except (TypeError, ValueError):
        raise SettingsError(f"{where} returns {field} as a {type(thing).__name__}, {expected}") from None
    if not any(jnp.issubdtype(array.dtype, kind) for kind in NUMBERS):
        raise SettingsError(f"{where} returns {field} of type {array.dtype}, {expected}")
    if array.size != (shape[0] if shape else 1):
        raise SettingsError(f"{where} returns {field} of shape {list(array.shape)}, {expected}")
    return array if array.shape == shape else array.reshape(shape)


def _words(shape: tuple[int, ...]) -> str:
    return f"a vector of {shape[0]} real numbers, its observation_size" if shape else "a single number or bool"


def _check_state(state: PyTree, following: PyTree, name: str) -> None:
    """Checks that a step returns a state that can be taken for the one that it was given."""
    before, after = (dict(jax.tree_util.tree_leaves_with_path(tree)) for tree in (state, following))
    for path in [*before, *(path for path in after if path not in before)]:
        old, new = before.get(path), after.get(path)
        if old is None or new is None or not _becomes(old, new):
            raise SettingsError(
                f"the state of {name} changes: state{jax.tree_util.keystr(path)} is {_kind(old)} from init and "
                f"{_kind(new)} from step; both must return the same kind, such as by jnp.asarray(x, dtype)"
            )
    if jax.tree.structure(state) != jax.tree.structure(following):
        raise SettingsError(
            f"the state of {name} changes: init returns {jax.tree.structure(state)}, and step "
            f"{jax.tree.structure(following)}; both must return the same structure"
        )


def _becomes(old: Any, new: Any) -> bool:
    """Whether the new value has the shape of the old one, and its type or one that is promoted to it."""
    old, new = jnp.asarray(old), jnp.asarray(new)
    return old.shape == new.shape and (old.dtype == new.dtype or jnp.promote_types(old.dtype, new.dtype) == old.dtype)


def _kind(leaf: Any) -> str:
    return "absent" if leaf is None else f"{jnp.asarray(leaf).dtype}{list(jnp.shape(leaf))}"
