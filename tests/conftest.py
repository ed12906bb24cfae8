"""Shared by all tests."""

import atexit
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# Compiled programs are kept between test runs; each test's own time-out is in pyproject.toml.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # jaxlib 0.10.1 prints much for each program found there

# Searched less often for garbage, of which imports and tracing make much: it took a twelfth of the time.
gc.set_threshold(200_000, 20, 100)

# What runs in the background ignores these, and tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

if "PYTEST_XDIST_WORKER" in os.environ:  # it has told its results, and would free each program for many seconds
    atexit.register(os._exit, 0)  # the last of all, since it is the first here

# They take the longest: begun first, none keeps one worker busy while the others have ended.
LONGEST = (
    *("test_diagnosis", "test_brax_suite", "test_no_run_is_lost", "test_variants_learn", "test_cli", "test_host"),
    *("test_devices", "test_play", "test_search", "test_memory", "test_registry", "test_evaluation_by_suite"),
    *("test_train", "test_old_folders", "test_update", "test_faults", "test_readme", "test_recorded_metrics"),
    *("test_own_hyperparams", "test_variants"),
)


def pytest_sessionfinish() -> None:
    gc.freeze()  # pytest would search all that the tests have made five times


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # of pytest-xdist: files in this order, and not those of most tests first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_collection_finish() -> None:
    gc.freeze()  # modules stay, and each search would look at them again


MAPS = Path("/proc/self/maps")  # of memory, where Linux lists them
MOST_MAPS = 30_000  # each compiled program has some, and more than 65,530 end a process


@pytest.fixture(autouse=True, scope="module")
def _compile_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Most modules test what is computed, and compiling took nearly all their time; those marked `optimized` do not."""
    import toys

    optimized = request.node.get_closest_marker("optimized")
    if optimized or (MAPS.exists() and MAPS.read_text().count("\n") > MOST_MAPS):
        forget_programs()
    with toys.compiled_with({} if optimized else toys.QUICK):
        yield
    if optimized:
        forget_programs()


def forget_programs() -> None:
    """Later tests compile anew what they run."""
    import jax
    import toys

    from rpo_jax.compiling import jit as compiling
    from rpo_jax.execution import memory

    toys.forget_agents()
    compiling._compile.cache_clear()
    memory.needed_bytes.cache_clear()
    jax.clear_caches()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Runs draw their curves, two hundred times in all: blank pictures, except in tests that are marked `pictures`."""
    from matplotlib.figure import Figure

    save = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("pictures"):
            patch.setattr(Figure, "savefig", lambda _, *args, **options: save(Figure((1, 1)), *args, **options))
        return (yield)


@pytest.fixture(scope="module")
def shared_agents() -> Iterator[None]:
    """For modules that train many runs of few settings."""
    import toys

    with toys.agents_of_specs_shared():
        yield
