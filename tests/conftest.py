"""Shared by all tests."""

import os
from pathlib import Path

# Compiled programs are kept between test runs; each test's own time-out is in pyproject.toml.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
