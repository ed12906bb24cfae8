"""Description of the machine for reports of faults."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from rpo_jax.compiling.cores import num_cores
from rpo_jax.compiling.probe import processor

PACKAGES = ("rpo_jax", "jax", "jaxlib", "flax", "optax", "distrax", "gymnax", "brax", "mujoco-mjx", "playground")
# CPU features by which XLA chooses kernels.
FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "asimd", "sve")


def describe_machine() -> list[str]:
    """Describes the machine: a line each with versions, CPU and XLA flags."""
    name, _, known = processor().partition(";")
    features = [feature for feature in FEATURES if feature in known.split()]
    return [
        ", ".join([f"Python {platform.python_version()}", *filter(None, map(_installed, PACKAGES))]),
        f"{num_cores()} cores of {name} ({', '.join(features) or 'features unknown'}), {platform.system()}",
        f"XLA_FLAGS: {os.environ.get('XLA_FLAGS') or 'none'}",
    ]


def _installed(package: str) -> str | None:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None
