"""Compilation of all programs of the library, with the XLA options that the platform needs.

`jit` and `compile_traced` pass the options to XLA for each program, so that importing rpo_jax changes no global state.
The command `rpo-jax`, whose process runs nothing else, also calls `set_process_options`, so that programs that suites
compile themselves get them too.
"""

import dataclasses
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial, update_wrapper
from importlib.metadata import version
from typing import Any, Generic, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, get_opaque_trace_state

from rpo_jax.compiling.probe import warn_of_faults
from rpo_jax.typing import PyTree

Option: TypeAlias = str | bool

# By platform. YNNPACK, XLA's library of small CPU kernels, is fast at matrix products, but its fused sums are slow.
# With jaxlib 0.10.2 these sums are wrong and crash, with 0.11.0 they crash (jax issues 39103, 39257, 40412).
OPTIONS: dict[str, dict[str, Option]] = {
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
}
# A GPU adds numbers in any order, and chooses its products by timing them, so that the same seed gives other bits. Docs
# of XLA: "xla_gpu_deterministic_ops" forbids both. Other platforms give the same bits anyway.
DETERMINISTIC: dict[str, dict[str, Option]] = {
    platform: {"xla_gpu_deterministic_ops": True} for platform in ("gpu", "cuda", "rocm")
}
# XLA aborts the process if it does not know a flag, so flags are set for tested versions only.
FLAGS_FOR = ("0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.11.1", "0.11.2")

Result = TypeVar("Result")


class Jitted(Generic[Result]):
    """A function compiled by `jit`."""

    __name__: str

    def __init__(self, function: Callable[..., Result], deterministic: Callable[..., bool], **options: Any):
        """Wraps a function, as `jit` does.

        Args:
            function: pure function of arrays.
            deterministic: as of `jit`.
            **options: keyword arguments of `jax.jit`.
        """
        update_wrapper(self, function)
        self._deterministic = deterministic
        self._nested = jax.jit(function, **options)
        self._compiled_for = lru_cache(
            lambda platform, deterministic: jax.jit(
                function, compiler_options=_options_of(platform, deterministic), **options
            )
        )

    def __call__(self, *args: PyTree, **kwargs: PyTree) -> Result:
        """Calls the function: as a program of its own, or as a part of the one that is being traced."""
        if is_nested():  # JAX accepts compiler options for complete programs only
            return self._nested(*args, **kwargs)
        compiled = self._compiled_for(_platform_of((args, kwargs)), self._deterministic(*args, **kwargs))
        return compiled(*args, **kwargs)

    def lower(self, *args: PyTree, **kwargs: PyTree) -> jax.stages.Lowered:
        """Returns the lowered program of a call with `args` and `kwargs`, as the `lower` of `jax.jit` does."""
        return self._nested.lower(*args, **kwargs)

    def trace(self, *args: PyTree, **kwargs: PyTree) -> jax.stages.Traced:
        """Returns the traced call with `args` and `kwargs`, or their `jax.ShapeDtypeStruct`, for `compile_traced`."""
        return self._nested.trace(*args, **kwargs)


def jit(
    function: Callable[..., Result], *, deterministic: Callable[..., bool] = lambda *_, **__: False, **options: Any
) -> Jitted[Result]:
    """Compiles a function as `jax.jit` does, with the options of the platform.

    Inside other programs, and under transformations such as `jax.vmap` and `jax.grad`, it is the same as `jax.jit`.

    Args:
        function: pure function of arrays.
        deterministic: tells of the arguments of a call whether it must give the same bits whenever it is made.
        **options: keyword arguments of `jax.jit`: `static_argnums`, `static_argnames` or `donate_argnums`.

    Returns:
        The compiled function.
    """
    return Jitted(function, deterministic, **options)


def compile_traced(traced: jax.stages.Traced, platform: str, deterministic: bool = False) -> jax.stages.Compiled:
    """Compiles a traced call with the options of the platform. Recent programs are cached.

    Args:
        traced: the call, from `Jitted.trace`.
        platform: "cpu", "gpu" or "tpu".
        deterministic: whether the program must give the same bits whenever it runs.

    Returns:
        The compiled program.
    """
    return _compile(_TracedCall(traced.jaxpr, traced), platform, deterministic)


@lru_cache
def known_options(platform: str) -> dict[str, Option]:
    """Selects the `OPTIONS` that the installed XLA knows.

    The first call for a platform warns if the machine is known to compute wrong results.

    Args:
        platform: "cpu", "gpu" or "tpu".

    Returns:
        Values of the options by name.
    """
    warn_of_faults(platform)
    return {name: value for name, value in OPTIONS.get(platform, {}).items() if _is_known(name, value, platform)}


def set_process_options() -> None:
    """Sets the CPU options for all programs of this process and its children, through XLA_FLAGS.

    Call it before JAX starts. Flags in XLA_FLAGS take precedence, and nothing is set if it names a file of flags. With
    a version of jaxlib that was not tested it sets nothing and warns.
    """
    flags, release = os.environ.get("XLA_FLAGS", "").strip(), version("jaxlib")
    own = {flag.partition("=")[0] for flag in flags.split()}
    new = [f"--{name}={value}" for name, value in OPTIONS["cpu"].items() if f"--{name}" not in own]
    if not new or (flags and not flags.startswith("-")):
        return
    if release not in FLAGS_FOR:
        logging.getLogger("rpo_jax").warning(
            f"XLA_FLAGS is not changed, since jaxlib {release} was not tested with rpo_jax: environments may be "
            "slower; `rpo-jax check` tests whether their results are right"
        )
        return
    os.environ["XLA_FLAGS"] = " ".join([flags, *new]).strip()


@dataclasses.dataclass(frozen=True)
class _TracedCall:
    """Key of the cache of programs.

    JAX caches the jaxpr of a function by arguments and settings, including the matmul precision, so it identifies them.
    """

    jaxpr: ClosedJaxpr
    traced: jax.stages.Traced = dataclasses.field(compare=False)


@lru_cache(maxsize=8)
def _compile(call: _TracedCall, platform: str, deterministic: bool) -> jax.stages.Compiled:
    return call.traced.lower().compile(_options_of(platform, deterministic))


def _options_of(platform: str, deterministic: bool) -> dict[str, Option]:
    return known_options(platform) | (DETERMINISTIC.get(platform, {}) if deterministic else {})


def _is_known(name: str, value: Option, platform: str) -> bool:
    device = jax.local_devices(backend=platform)[0]
    argument = jax.ShapeDtypeStruct((), jnp.float32, sharding=jax.sharding.SingleDeviceSharding(device))
    try:
        jax.jit(lambda x: x).lower(argument).compile({name: value})
    except jax.errors.JaxRuntimeError as error:
        if name in str(error):
            return False
        raise
    return True


def is_nested() -> bool:
    """Returns whether JAX is tracing, as under an outer `jit`, or transforming, as under `vmap` and `grad`."""
    return get_opaque_trace_state(convention="flax") != _top_level_trace_state()


@lru_cache
def _top_level_trace_state() -> object:
    with ThreadPoolExecutor(1) as pool:  # in a new thread nothing is being traced
        return pool.submit(partial(get_opaque_trace_state, convention="flax")).result()


def _platform_of(args: PyTree) -> str:
    """The platform on which a program runs that is called with these arguments."""
    committed = (x.sharding for x in jax.tree.leaves(args) if isinstance(x, jax.Array) and x.committed)
    if sharding := next(committed, None):
        return next(iter(sharding.device_set)).platform
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return getattr(device, "platform", device) or jax.default_backend()
