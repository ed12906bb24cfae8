"""Type aliases that several folders share."""

from typing import Any, TypeAlias

PyTree: TypeAlias = Any
"""A tree of arrays whose structure only JAX knows, such as the state of a simulator."""
