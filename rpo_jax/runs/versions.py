"""Versions of the packages that a run uses."""

import importlib.metadata

STACK = ("rpo_jax", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")
PACKAGES = (*STACK, "gymnax", "brax", "mujoco", "playground", "envpool", "gymnasium", "pybullet")


def version_of(package: str) -> str | None:
    """Returns the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
