"""What the interpreter computes with: known arrays, parts and whole arrays."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

MAX_PARTS = 256  # of an array that is taken apart


class Value:
    """An array of the program of a single call, in one of three forms.

    Attributes:
        shape: its shape for a single call.
        dtype: its dtype.
        known: the NumPy array, if it is known and the same for all of the batch; otherwise None.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        *,
        known: np.ndarray | None = None,
        parts: np.ndarray | None = None,
        whole: jax.Array | None = None,
        batched: bool = True,
    ):
        """Makes a value of one of its forms.

        Args:
            shape: its shape for a single call.
            dtype: its dtype.
            known: the array itself.
            parts: array of objects: vectors [N], scalars [] of JAX, and NumPy scalars.
            whole: the array [..., N]; or [...] if not `batched`.
            batched: whether the whole array has the axis of the batch.
        """
        self.shape, self.dtype, self.known = shape, dtype, known
        self._parts, self._whole, self._batched = parts, whole, batched

    @classmethod
    def of_known(cls, array: Any) -> "Value":
        """Returns the value of an `array` that is the same for all of the batch: known, or a tracer of JAX."""
        if isinstance(array, Tracer) or jnp.issubdtype(array.dtype, jax.dtypes.extended):
            return cls(array.shape, array.dtype, whole=array, batched=False)
        return cls(np.shape(array), array.dtype, known=np.asarray(array))

    @classmethod
    def of_whole(cls, array: jax.Array) -> "Value":
        """Returns the value of an `array` [..., N]."""
        return cls(array.shape[:-1], array.dtype, whole=array)

    @classmethod
    def of_parts(cls, parts: np.ndarray, dtype: Any) -> "Value":
        """Returns the value of `parts` [...] of a `dtype`."""
        return cls(parts.shape, dtype, parts=parts)

    @property
    def size(self) -> int:
        """The number of its components."""
        return math.prod(self.shape)

    @property
    def is_single(self) -> bool:
        """Whether it is the same for all of the batch."""
        if self.known is not None:
            return True
        if self._whole is not None:
            return not self._batched
        return all(np.ndim(part) == 0 for part in self.parts.flat)

    @cached_property
    def parts(self) -> np.ndarray:
        """Returns its components [...], an array of objects."""
        if self._parts is not None:
            return self._parts
        if self.known is not None:
            return taken_apart(self.known.reshape(-1), self.shape)
        assert self._whole is not None
        rest = self._whole.shape[-1:] if self._batched else ()
        return taken_apart(jnp.unstack(self._whole.reshape((-1, *rest))), self.shape)

    def whole(self, size: int) -> jax.Array:
        """Returns the array [..., size] with the batch as its last axis."""
        if self._whole is not None and self._batched:
            return self._whole
        if self.is_single:
            array = self.single()
            return lax.broadcast_in_dim(array, (*self.shape, size), range(len(self.shape)))
        if not self.shape:
            return as_vector(self.parts[()], self.dtype, size)
        vectors = [as_vector(part, self.dtype, size) for part in self.parts.flat]
        return jnp.stack(vectors).reshape((*self.shape, size))

    def single(self) -> jax.Array:
        """Returns the array [...], which is the same for all of the batch."""
        if self.known is not None:
            return jnp.asarray(self.known, self.dtype)
        if self._whole is not None:
            return self._whole
        return jnp.asarray([jnp.asarray(part, self.dtype) for part in self.parts.flat], self.dtype).reshape(self.shape)


def taken_apart(components: Sequence[Any] | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns `components` as an array of objects of that `shape`."""
    found = np.empty(len(components), object)
    for place, component in enumerate(components):
        found[place] = component
    return found.reshape(shape)


def as_vector(part: Any, dtype: Any, size: int) -> jax.Array:
    """Returns a component, `part`, as a vector [size] of a `dtype`."""
    if np.ndim(part):
        return part
    number = part if isinstance(part, jax.Array) else np.asarray(part, dtype)
    return lax.broadcast_in_dim(number, (size,), ())
