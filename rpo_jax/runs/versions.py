"""Versions of the packages that a run uses."""

import importlib.metadata
from collections.abc import Iterable

import rpo_jax
from rpo_jax.envs import SUITES

STACK = ("rpo_jax", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")


def versions_of(suites: Iterable[str]) -> dict[str, str | None]:
    """Returns the versions of what rpo_jax computes with, and of the packages of `suites`, by name of the package."""
    names = [*STACK, *(package for suite in suites for package in SUITES[suite].packages)]
    return {name: version_of(name) for name in names}


def version_of(package: str) -> str | None:
    """Returns the version of an installed package; None if it is not installed.

    Args:
        package: name of the package. For rpo_jax it is the version of this code, which need not be that of the
            installation, such as where its files have changed since.

    Returns:
        The version, such as "1.0.1".
    """
    if package == rpo_jax.__name__:
        return rpo_jax.__version__
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
