"""Description of the machine for reports of faults."""

import os
import platform

from rpo_jax.compiling.cores import num_cores
from rpo_jax.compiling.probe import processor
from rpo_jax.envs import SUITES
from rpo_jax.runs.versions import versions_of

# CPU features by which XLA chooses kernels.
FEATURES = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "asimd", "sve")


def describe_machine() -> list[str]:
    """Describes the machine: a line each with versions, CPU and XLA flags."""
    name, _, known = processor().partition(";")
    packages = [f"{package} {version}" for package, version in versions_of(SUITES).items() if version]
    features = [feature for feature in FEATURES if feature in known.split()]
    return [
        ", ".join([f"Python {platform.python_version()}", *packages]),
        f"{num_cores()} cores of {name} ({', '.join(features) or 'features unknown'}), {platform.system()}",
        f"XLA_FLAGS: {os.environ.get('XLA_FLAGS') or 'none'}",
    ]
