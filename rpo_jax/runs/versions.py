"""Versions of what a run computes with."""

import importlib.metadata

STACK = ("rpo_jax", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")
PACKAGES = (*STACK, "gymnax", "brax", "mujoco", "playground", "envpool", "gymnasium", "pybullet")


def version_of(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
