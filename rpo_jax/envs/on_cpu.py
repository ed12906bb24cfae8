"""Small operations that are done once, while an environment is made or traced, belong on the CPU."""

import contextlib

import jax


def on_cpu() -> contextlib.AbstractContextManager[object]:
    """Makes JAX compute on the CPU while a block runs, if it may.

    Each operation is compiled before it runs, for a GPU several times as long.

    Returns:
        The context manager of the block.
    """
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX was told to start others only
        return contextlib.nullcontext()
    return jax.default_device(device)
