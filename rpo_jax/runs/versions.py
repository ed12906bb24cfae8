"""Versions of the packages that a run uses."""

import importlib.metadata

import rpo_jax

STACK = ("rpo_jax", "jax", "jaxlib", "flax", "optax", "distrax", "numpy")
PACKAGES = (*STACK, "gymnax", "brax", "mujoco", "playground", "envpool", "gymnasium", "pybullet")


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
