"""MuJoCo's MJX puts models on the first of all devices, which may be that of another process."""

import contextlib
from collections.abc import Iterator
from unittest import mock

import jax


@contextlib.contextmanager
def on_own_devices() -> Iterator[None]:
    """While the block runs, `jax.devices` returns those of this process only; it decorates functions too."""
    if jax.process_count() == 1:
        yield
        return
    with mock.patch.object(jax, "devices", lambda backend=None: jax.local_devices(backend=backend)):
        yield
