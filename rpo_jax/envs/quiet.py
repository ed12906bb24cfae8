"""Suppresses the output of suites while they are imported or construct environments."""

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator
from types import ModuleType

from rpo_jax.errors import SettingsError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses Python warnings and everything written to stdout and stderr, also by C code."""
    with warnings.catch_warnings(), open(os.devnull, "w") as null, contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        stack.enter_context(contextlib.redirect_stdout(null))
        stack.enter_context(contextlib.redirect_stderr(null))
        for descriptor in (1, 2):
            stack.callback(_restore, os.dup(descriptor), descriptor)
            os.dup2(null.fileno(), descriptor)
        # Without a warning handler MuJoCo would also write a log file to the working directory.
        mujoco = _import_mujoco()
        stack.callback(mujoco.set_mju_user_warning, mujoco.get_mju_user_warning())
        mujoco.set_mju_user_warning(lambda message: None)
        yield


def _import_mujoco() -> ModuleType:
    try:
        return importlib.import_module("mujoco")
    except (RuntimeError, AttributeError) as error:
        raise SettingsError(
            f"MuJoCo cannot be imported with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: {error}; unset it, or choose "
            "egl, osmesa or glfw"
        ) from None


def _restore(saved: int, descriptor: int) -> None:
    os.dup2(saved, descriptor)
    os.close(saved)
