"""The number of CPU cores, and their use as devices."""

import contextlib
import ctypes
import os

import jax

from rpo_jax.compiling.jit import set_process_options
from rpo_jax.errors import SettingsError


def num_cores() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cpu_cores(count: int | None = None) -> None:
    """Makes JAX use one CPU device per core, over which runs are sharded; call it before JAX starts.

    Another call with the same count changes nothing, so that a cell of a notebook may run again.

    It sets two environment variables, unless they are set already; child processes inherit them. `XLA_FLAGS`: your own
    programs are compiled with the same options as those of rpo_jax. `PJRT_NPROC`: the devices have no more threads in
    total than there are cores. For the same reason it sets the threads of SciPy's OpenBLAS, by which JAX factorises
    matrices, unless the variable `OPENBLAS_NUM_THREADS` says how many.

    Args:
        count: number of devices; the number of cores that this process may use if None.

    Raises:
        SettingsError: if JAX has started already, or the count is not a whole number of 1 or more.
    """
    cores = num_cores()
    count = cores if count is None else count
    if type(count) is not int or count < 1:
        raise SettingsError(f"count={count!r} is out of range: it must be a whole number, 1 or more")
    if jax.config.jax_num_cpu_devices != count:  # pyright: ignore[reportAttributeAccessIssue]
        try:
            jax.config.update("jax_num_cpu_devices", count)
        except RuntimeError:
            raise SettingsError(
                "use_cpu_cores comes too late: JAX has started; call it before anything is computed"
            ) from None
    # Otherwise every device would use a thread pool as large as the number of cores, and they would slow each other.
    threads = max(1, cores // count)
    os.environ.setdefault("PJRT_NPROC", str(threads))
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        _set_openblas_threads(threads)
    set_process_options()


def _set_openblas_threads(count: int) -> None:
    """Does nothing if SciPy has another library. After a matrix is factorised, threads wait for more in a busy loop."""
    from scipy.linalg import cython_lapack  # pyright: ignore[reportAttributeAccessIssue]

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(cython_lapack.__file__).scipy_openblas_set_num_threads(count)
