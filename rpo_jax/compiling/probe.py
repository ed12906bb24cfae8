"""Whether this machine, jaxlib and device compute what XLA is known to have computed wrong.

A probe is a small program whose answer is known. All run the first time that a machine, jaxlib and device are met; the
answer is kept in the user's cache folder. Faults that end the process are looked for by `rpo-jax check` alone, which
has processes to spare.
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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import platformdirs

# By platform, versions of jaxlib that must not be used, and the reports on why: pyproject.toml shuts out those of the
# CPU, and its extras for GPUs those of the GPU.
SCANS = "scans of vmapped functions may be wrong, jax issue 36958"
BROKEN = {
    "cpu": {
        "0.10.2": "sums are wrong and crash, jax issues 39103, 39257 and 40412",
        "0.11.0": "sums crash, jax issue 39257",
        "0.11.1": "long loops take quadratic time, jax issue 40101",
    },
    "gpu": dict.fromkeys(("0.10.0", "0.10.1", "0.10.2", "0.11.0"), SCANS),
}


def sums_of_products(compile: Callable[..., Any]) -> bool:
    """Jax issue 39103: on a CPU the last rows of a batch of small products, squared and summed."""
    rows = np.zeros((33_000, 3), np.float32)
    rows[:, 0] = np.arange(len(rows)) % 256  # exact in bfloat16 too, which a TPU computes with
    eye = np.eye(3, dtype=np.float32)
    squares = compile(jax.vmap(lambda row: jnp.square(eye @ row).sum()))(rows)
    return np.allclose(squares, rows[:, 0] ** 2)


def scan_of_vmap(compile: Callable[..., Any]) -> bool:
    """Jax issue 36958: on a GPU a scan over a vmapped affine map that gives the state before the step."""
    turn, shift = np.array([[0, -1], [1, 0]], np.float32), np.array([0.1, -0.2], np.float32)
    start = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32)

    def step(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        return x + 0.02 * jax.vmap(lambda row: turn @ row + shift)(x), x

    found = compile(lambda x: jax.lax.scan(step, x, length=50)[0])(start)
    expected = start.astype(float)
    for _ in range(50):
        expected = expected + 0.02 * (expected @ turn.T + shift)
    return np.allclose(found, expected, atol=0.05)  # TF32 is no fault


def small_operations(compile: Callable[..., Any]) -> bool:
    """Jax issue 40633: on some GPUs operations of a few elements, each a program of its own."""
    ones = compile(lambda x: x + 1.0)(jnp.ones(4))
    return np.allclose(ones, 2.0) and np.allclose(compile(jnp.sqrt)(jnp.full((), 512.0)), 512**0.5)


PROBES = {"jax issue 39103": sums_of_products, "jax issue 36958": scan_of_vmap, "jax issue 40633": small_operations}


def failed_probes(compile: Callable[..., Any] = jax.jit) -> list[str]:
    """What this process computes wrong, by the name of the report; `compile` makes programs."""
    settings = jax.disable_jit(False), jax.enable_x64(False), jax.transfer_guard("allow")
    with contextlib.ExitStack() as stack:
        for setting in (*settings, jax.default_matmul_precision(None)):
            stack.enter_context(setting)
        return [name for name, probe in PROBES.items() if not probe(compile)]


def remedy() -> str:
    """What to do where this machine computes wrong."""
    release = version("jaxlib")
    extra = next((extra for extra in ("cuda12", "cuda13") if find_spec(f"jax_{extra}_plugin")), "")
    if extra and release in BROKEN["gpu"] | BROKEN["cpu"]:
        return f"on Python 3.12 or newer: python -m pip install 'jax[{extra}]>=0.11.2,<0.12'"
    if release in BROKEN["cpu"]:
        return f"python -m pip install 'jax{''.join(f'!={broken},' for broken in BROKEN['cpu'])}<0.12'"
    return f"{report_it()}; another version of jax may compute right"


def report_it() -> str:
    """What to do where nothing else is known."""
    report = "please report this, with all that `rpo-jax check` prints"
    own = sorted(name for name in os.environ if name.startswith(("JAX_", "XLA_")))
    return f"try again without {', '.join(own)}; if it stays, {report}" if own else report


@lru_cache
def warn_of_faults(platform: str) -> None:
    """Warns in one line if a probe fails here; the answer is remembered from process to process."""
    release = version("jaxlib")
    known = BROKEN.get(platform, {}).get(release)
    if failed := [known] if known else _remembered(platform):
        logging.getLogger("rpo_jax").warning(
            f"jaxlib {release} computes wrong on this {platform} ({', '.join(failed)}): {remedy()}; `rpo-jax check` "
            "tells more"
        )


def _remembered(platform: str) -> list[str]:
    """The probes that fail, made once for a machine; none where they cannot be made."""
    try:
        device = jax.local_devices(backend=platform)[0]
    except RuntimeError:  # what is compiled is for another machine
        return []
    memory = _memory(device)
    if memory and (known := _read(memory)) is not None:
        return known
    try:
        with jax.default_device(device):
            failed = failed_probes()
    except (jax.errors.JaxRuntimeError, ValueError):  # such as a full memory: what the user does will tell
        return []
    if memory:
        with contextlib.suppress(OSError):  # it is found again
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps({"failed": failed}))
    return failed


def _read(memory: Path) -> list[str] | None:
    """What is remembered; None if nothing is, or it is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        failed = json.loads(memory.read_text())["failed"]
        if isinstance(failed, list) and all(isinstance(name, str) for name in failed):
            return failed
    return None


def _memory(device: Any) -> Path | None:
    """The file that remembers what was found with this machine, jaxlib, device and flags; None without a home."""
    known = [processor(), version("jax"), version("jaxlib"), device.device_kind, device.client.platform_version]
    words = [*known, os.environ.get("XLA_FLAGS", ""), *PROBES]
    name = hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
    folder = cache_folder()
    return folder and folder / "probes" / f"{name}.json"


def cache_folder() -> Path | None:
    """The user's folder for what can be made again; None where the system knows of no home, as in some containers."""
    try:
        return Path(platformdirs.user_cache_dir("rpo_jax", appauthor=False))
    except RuntimeError:
        return None


def processor() -> str:
    """The CPU's name and what it can do, one line; as far as the system tells."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
        found = {name.strip(): value.strip() for name, value in told.items()}
        return f"{found.get('model name', host.machine())}; {found.get('flags', found.get('Features', ''))}"
    return f"{host.processor() or host.machine()};"
