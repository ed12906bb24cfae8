"""Types that several folders share."""

from typing import Any, Protocol, TypeAlias

PyTree: TypeAlias = Any
"""A tree of arrays whose structure only its maker knows, such as the state of a simulator."""

JsonObject: TypeAlias = dict[str, Any]
"""What a JSON file holds, such as a summary: values by name."""


class Device(Protocol):
    """The members of `jax.Device` that are used here; JAX itself does not export the type."""

    @property
    def platform(self) -> str:
        """Kind of device: "cpu", "gpu" or "tpu"."""
        ...

    @property
    def device_kind(self) -> str:
        """Model of the device."""
        ...

    @property
    def process_index(self) -> int:
        """Number of the process that has the device."""
        ...

    @property
    def client(self) -> Any:
        """XLA's client of the device."""
        ...

    def memory_stats(self) -> dict[str, int] | None:
        """Returns sizes in bytes by name, such as "bytes_in_use"; None if they are unknown."""
        ...
