"""Probes: small programs with a known result, for computations that XLA is known to have got wrong.

All probes run the first time that a combination of machine, jaxlib and device is used, and the results are cached in
the user's cache folder. Faults that crash the process are tested by `rpo-jax check` only, in separate processes.
"""

import contextlib
import hashlib
import json
import logging
import os
import platform as host
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs

from rpo_jax.typing import Device

Compiler: TypeAlias = Callable[..., Callable[..., jax.Array]]

# Versions of jaxlib that must not be used, by platform, and why. pyproject.toml excludes those of the CPU, and its
# extras for GPUs those of the GPU.
SCANS = "scans of vmapped functions may be wrong, jax issue 36958"
BROKEN = {
    "cpu": {
        "0.10.2": "sums are wrong and crash, jax issues 39103, 39257 and 40412",
        "0.11.0": "sums crash, jax issue 39257",
        "0.11.1": "long loops take quadratic time, jax issue 40101",
    },
    "gpu": dict.fromkeys(("0.10.0", "0.10.1", "0.10.2", "0.11.0"), SCANS),
}


def sums_of_products(compile: Compiler) -> bool:
    """Tests jax issue 39103: sums of squared small products; on a CPU the last rows of the batch were wrong.

    Args:
        compile: compiles a function, such as `jax.jit`.

    Returns:
        Whether the result is right.
    """
    rows = np.zeros((33_000, 3), np.float32)
    rows[:, 0] = np.arange(len(rows)) % 256  # exact in bfloat16 too, in which a TPU computes
    eye = np.eye(3, dtype=np.float32)
    squares = compile(jax.vmap(lambda row: jnp.square(eye @ row).sum()))(rows)
    return np.allclose(squares, rows[:, 0] ** 2)


def scan_of_vmap(compile: Compiler) -> bool:
    """Tests jax issue 36958: a scan of a vmapped affine map that returns the state before each step, on a GPU.

    Args:
        compile: compiles a function, such as `jax.jit`.

    Returns:
        Whether the result is right.
    """
    turn, shift = np.array([[0, -1], [1, 0]], np.float32), np.array([0.1, -0.2], np.float32)
    start = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)

    def step(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        return x + 0.02 * jax.vmap(lambda row: turn @ row + shift)(x), x

    found = compile(lambda x: jax.lax.scan(step, x, length=50)[0])(start)
    expected = start.astype(float)
    for _ in range(50):
        expected = expected + 0.02 * (expected @ turn.T + shift)
    return np.allclose(found, expected, atol=0.05)  # rounding to TF32 is allowed


def small_operations(compile: Compiler) -> bool:
    """Tests jax issue 40633: programs of one operation on a few elements, on some GPUs.

    Args:
        compile: compiles a function, such as `jax.jit`.

    Returns:
        Whether the result is right.
    """
    ones = compile(lambda x: x + 1.0)(jnp.ones(4))
    return np.allclose(ones, 2.0) and np.allclose(compile(jnp.sqrt)(jnp.full((), 512.0)), 512**0.5)


PROBES = {"jax issue 39103": sums_of_products, "jax issue 36958": scan_of_vmap, "jax issue 40633": small_operations}


def failed_probes(compile: Compiler = jax.jit) -> list[str]:
    """Runs all probes in this process.

    Args:
        compile: compiles a function, such as `jax.jit`.

    Returns:
        The names of the probes whose result is wrong.
    """
    settings = jax.disable_jit(False), jax.enable_x64(False), jax.transfer_guard("allow")
    with contextlib.ExitStack() as stack:
        for setting in (*settings, jax.default_matmul_precision(None)):
            stack.enter_context(setting)
        return [name for name, probe in PROBES.items() if not probe(compile)]


def remedy() -> str:
    """Returns what the user can do if this machine computes wrong results."""
    release = version("jaxlib")
    extra = next((extra for extra in ("cuda12", "cuda13") if find_spec(f"jax_{extra}_plugin")), "")
    if extra and release in BROKEN["gpu"] | BROKEN["cpu"]:
        return f"on Python 3.12 or newer: python -m pip install 'jax[{extra}]>=0.11.2,<0.12'"
    if release in BROKEN["cpu"]:
        return f"python -m pip install 'jax{''.join(f'!={broken},' for broken in BROKEN['cpu'])}<0.12'"
    return f"{report_it()}; another version of jax may work"


def report_it() -> str:
    """Returns how to report a fault for which no remedy is known."""
    report = "please report this, with the whole output of `rpo-jax check`"
    own = sorted(name for name in os.environ if name.startswith(("JAX_", "XLA_")))
    return f"try again without {', '.join(own)}; if it persists, {report}" if own else report


@lru_cache
def warn_of_faults(platform: str) -> None:
    """Logs a one-line warning if a probe fails on this machine. Results are cached between processes.

    Args:
        platform: "cpu", "gpu" or "tpu".
    """
    release = version("jaxlib")
    known = BROKEN.get(platform, {}).get(release)
    if failed := [known] if known else _failed_probes_cached(platform):
        logging.getLogger("rpo_jax").warning(
            f"jaxlib {release} computes wrong results on this {platform} ({', '.join(failed)}): {remedy()}; see "
            "`rpo-jax check`"
        )


def _failed_probes_cached(platform: str) -> list[str]:
    """Names of the failed probes, from the cache if there is one; empty if they cannot be run."""
    try:
        device = jax.local_devices(backend=platform)[0]
    except RuntimeError:  # compiling for another machine
        return []
    cache = _cache_file(device)
    if cache and (known := _read_cache(cache)) is not None:
        return known
    try:
        with jax.default_device(device):
            failed = failed_probes()
    except (jax.errors.JaxRuntimeError, ValueError):  # such as a full memory, which the user's program will report
        return []
    if cache:
        with contextlib.suppress(OSError):  # the next process runs the probes again
            cache.parent.mkdir(parents=True, exist_ok=True)
            cache.write_text(json.dumps({"failed": failed}))
    return failed


def _read_cache(path: Path) -> list[str] | None:
    """The cached names of the failed probes; None if the file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        failed = json.loads(path.read_text())["failed"]
        if isinstance(failed, list) and all(isinstance(name, str) for name in failed):
            return failed
    return None


def _cache_file(device: Device) -> Path | None:
    """The cache file for this machine, jaxlib, device and flags; None if there is no cache folder."""
    known = [processor(), version("jax"), version("jaxlib"), device.device_kind, device.client.platform_version]
    words = [*known, os.environ.get("XLA_FLAGS", ""), *PROBES]
    name = hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
    folder = cache_folder()
    return folder and folder / "probes" / f"{name}.json"


def cache_folder() -> Path | None:
    """Returns the cache folder of the user; None if there is no home folder, as in some containers."""
    try:
        return Path(platformdirs.user_cache_dir("rpo_jax", appauthor=False))
    except RuntimeError:
        return None


def processor() -> str:
    """Describes the CPU as "model; features" in one line; without features where the system does not list them."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        entries = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
        found = {name.strip(): value.strip() for name, value in entries.items()}
        return f"{found.get('model name', host.machine())}; {found.get('flags', found.get('Features', ''))}"
    return f"{host.processor() or host.machine()};"
