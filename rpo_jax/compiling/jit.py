"""The one door to the compiler: what the library jits is compiled here, with the options its platform needs.

Options are given to XLA per program, by `jit` and `compile_traced`, so that importing rpo_jax changes nothing global. A
process that is ours alone, such as the command, also sets them for everything that is compiled in it, by
`set_process_options`, since suites have programs of their own.
"""

import dataclasses
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial, update_wrapper
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from rpo_jax.compiling.probe import warn_of_faults

# By platform. XLA's CPU library of small kernels, YNNPACK, is fast at products. Its fusions of sums are slow; with
# jaxlib 0.10.2 they are wrong and crash, with 0.11.0 they crash (jax issues 39103, 39257, 40412).
OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
}
# XLA ends a process whose flags it does not know, so they are set for versions that were tried only.
FLAGS_FOR = ("0.10.0", "0.10.1", "0.10.2", "0.11.0", "0.11.1", "0.11.2")

Result = TypeVar("Result")


class Jitted(Generic[Result]):
    """What `jit` makes of a function."""

    __name__: str

    def __init__(self, function: Callable[..., Result], **how: Any):
        update_wrapper(self, function)
        self._inner = jax.jit(function, **how)
        self._outer = lru_cache(lambda platform: jax.jit(function, compiler_options=known_options(platform), **how))

    def __call__(self, *args: Any, **kwargs: Any) -> Result:
        """Runs it: as a part of what is being traced or transformed, if something is, else as a program of its own."""
        if _is_part():  # JAX takes options for whole programs only
            return self._inner(*args, **kwargs)
        return self._outer(_platform_of((args, kwargs)))(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> jax.stages.Lowered:
        """Lowers a call, as `jax.jit` does."""
        return self._inner.lower(*args, **kwargs)

    def trace(self, *args: Any, **kwargs: Any) -> jax.stages.Traced:
        """Traces a call, for `compile_traced`."""
        return self._inner.trace(*args, **kwargs)


def jit(function: Callable[..., Result], **how: Any) -> Jitted[Result]:
    """`jax.jit`, but compiled with the platform's options; under `vmap` and `grad` it is `jax.jit`.

    Args:
        function: what to compile.
        **how: `static_argnums`, `static_argnames` and `donate_argnums`, as of `jax.jit`.
    """
    return Jitted(function, **how)


def compile_traced(traced: jax.stages.Traced, platform: str) -> jax.stages.Compiled:
    """The program of a traced call, with the platform's options; recent programs are cached."""
    return _compile(_Call(traced.jaxpr, traced), platform)


@lru_cache
def known_options(platform: str) -> dict[str, Any]:
    """Those of `OPTIONS` that this XLA knows. The first call warns if the machine is known to compute wrong."""
    warn_of_faults(platform)
    return {name: value for name, value in OPTIONS.get(platform, {}).items() if _is_known(name, value, platform)}


def set_process_options() -> None:
    """Sets the options of the CPU for all programs of this process and its children, by XLA_FLAGS.

    Before JAX starts, with a jaxlib that this was tried with (another is told of); what XLA_FLAGS says already stands,
    and so does a file of flags that it names.
    """
    flags, release = os.environ.get("XLA_FLAGS", "").strip(), version("jaxlib")
    own = {flag.partition("=")[0] for flag in flags.split()}
    new = [f"--{name}={value}" for name, value in OPTIONS["cpu"].items() if f"--{name}" not in own]
    if not new or (flags and not flags.startswith("-")):
        return
    if release not in FLAGS_FOR:
        logging.getLogger("rpo_jax").warning(
            f"XLA_FLAGS is left as it is, since jaxlib {release} was not tried with rpo_jax: environments may be "
            "slower; `rpo-jax check` tells whether they are right"
        )
        return
    os.environ["XLA_FLAGS"] = " ".join([flags, *new]).strip()


@dataclasses.dataclass(frozen=True)
class _Call:
    """JAX traces once for the same arguments and settings, matmul precision included: the jaxpr tells calls apart."""

    jaxpr: Any
    traced: jax.stages.Traced = dataclasses.field(compare=False)


@lru_cache(maxsize=8)
def _compile(call: _Call, platform: str) -> jax.stages.Compiled:
    return call.traced.lower().compile(known_options(platform))


def _is_known(name: str, value: Any, platform: str) -> bool:
    device = jax.local_devices(backend=platform)[0]
    argument = jax.ShapeDtypeStruct((), jnp.float32, sharding=jax.sharding.SingleDeviceSharding(device))
    try:
        jax.jit(lambda x: x).lower(argument).compile({name: value})
    except jax.errors.JaxRuntimeError as error:
        if name in str(error):
            return False
        raise
    return True


def _is_part() -> bool:
    """Whether what is called now is recorded, as by an outer `jit`, or transformed, as by `vmap` and `grad`."""
    return get_opaque_trace_state(convention="flax") != _untraced()


@lru_cache
def _untraced() -> Any:
    with ThreadPoolExecutor(1) as pool:  # where nothing is traced, whatever is here
        return pool.submit(partial(get_opaque_trace_state, convention="flax")).result()


def _platform_of(args: Any) -> str:
    """Where a program of these arguments runs."""
    committed = (x.sharding for x in jax.tree.leaves(args) if isinstance(x, jax.Array) and x.committed)
    if sharding := next(committed, None):
        return next(iter(sharding.device_set)).platform
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return getattr(device, "platform", device) or jax.default_backend()
