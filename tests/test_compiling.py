"""The one door to the compiler: options reach every program, and change nothing but the compiler's choices."""

import ast
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax.compiling import jit as compiling
from rpo_jax.compiling.jit import compile_traced, jit

pytestmark = pytest.mark.optimized
PACKAGE = Path(rpo_jax.__file__).parent
BACKEND = jax.default_backend()
SQUARES = np.arange(6.0, dtype=np.float32).reshape(2, 3)


@partial(jit, static_argnames="power")
def total(x: jax.Array, power: int = 2) -> jax.Array:
    """A docstring."""
    return (x**power).sum()


def test_a_program_gives_what_its_function_gives_however_it_is_called() -> None:
    expected = (SQUARES**2).sum()
    assert total(SQUARES) == expected
    assert total(x=SQUARES, power=3) == (SQUARES**3).sum()
    assert jax.jit(total)(SQUARES) == expected
    assert jax.jit(lambda: total(SQUARES))() == expected
    np.testing.assert_array_equal(jax.vmap(total)(SQUARES), (SQUARES**2).sum(1))
    np.testing.assert_array_equal(jax.jit(jax.vmap(total))(SQUARES), (SQUARES**2).sum(1))
    np.testing.assert_array_equal(jax.grad(total)(SQUARES), 2 * SQUARES)
    inner = jit(lambda x, weight: (x * weight).sum())
    assert jax.grad(lambda weight: inner(SQUARES, weight))(2.0) == SQUARES.sum()
    assert jax.grad(lambda weight: jit(lambda x: (x * weight).sum())(SQUARES))(2.0) == SQUARES.sum()
    with jax.disable_jit():
        assert total(SQUARES) == expected
    with jax.transfer_guard("disallow"):
        assert total(jax.device_put(SQUARES)).shape == ()
    assert (total.__name__, total.__doc__) == ("total", "A docstring.")


def test_options_reach_every_way_of_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(platform: str) -> dict[str, bool]:
        return {"xla_no_such_option": True}

    monkeypatch.setattr(compiling, "known_options", refused)
    ways = {
        "called": lambda: jit(lambda x: x + 1)(1),
        "called with what a device holds": lambda: jit(lambda x: x + 1)(jax.device_put(1, jax.devices()[0])),
        "traced": lambda: compile_traced(jax.jit(lambda x: x + 1).trace(1), BACKEND),
    }
    for way in ways.values():
        with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
            way()
    assert jax.jit(jit(lambda x: x + 1))(1) == 2  # it is part of a program that is the user's
    assert jax.vmap(jit(lambda x: x + 1))(jnp.ones(1)) == 2


def test_a_deterministic_agent_is_trained_and_evaluated_with_the_options_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(compiling.DETERMINISTIC, BACKEND, {"xla_no_such_option": True})
    run, key = (rpo_jax.grid(), rpo_jax.seeds(0, 1)), jax.random.key(0)
    usual, deterministic = (toys.tiny_agent(deterministic=asked) for asked in (False, True))
    with toys.compiled_with(toys.QUICK):
        policy = jax.tree.map(lambda x: x[0, 0], rpo_jax.sweep(usual, *run)[0].policy)
        ways = {
            "sweep": lambda agent: rpo_jax.sweep(agent, *run),
            "evaluate": lambda agent: rpo_jax.evaluate(agent=agent, state=policy, key=key, num_episodes=2),
        }
        for way in ways.values():
            way(usual)
            with pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
                way(deterministic)


def test_options_that_this_xla_does_not_know_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    known = compiling.OPTIONS.get(BACKEND, {})
    monkeypatch.setitem(compiling.OPTIONS, BACKEND, {"xla_no_such_option": True, **known})
    compiling.known_options.cache_clear()
    try:
        assert compiling.known_options(BACKEND) == known
    finally:
        compiling.known_options.cache_clear()


OTHER = ("re.compile", "spread.compile")  # which compile nothing themselves


def test_nothing_in_the_library_compiles_by_another_door() -> None:
    """But for `jax.export`, which is given a jitted function and compiles nothing, and what looks for faults."""
    own = {*(PACKAGE / "diagnosis").glob("*.py"), *(PACKAGE / "compiling" / f"{name}.py" for name in ("jit", "probe"))}
    for path in set(PACKAGE.rglob("*.py")) - own:
        tree = ast.parse(path.read_text())
        exported = [x for call in ast.walk(tree) if _is_of(call, "jax.export.export") for x in ast.walk(call)]
        doors = [x for x in ast.walk(tree) if _is_door(x) and x not in exported]
        assert [ast.unparse(x) for x in doors] == [], path


@pytest.mark.parametrize(
    "text",
    ["jax.jit(f)", "partial(jax.pmap, f)", "from jax import jit", "import jax as j", "traced.lower().compile()"],
)
def test_other_doors_are_seen(text: str) -> None:
    assert any(map(_is_door, ast.walk(ast.parse(text))))


def _is_door(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return ast.unparse(node) in ("jax.jit", "jax.pmap") or (
            node.attr == "compile" and ast.unparse(node) not in OTHER
        )
    if isinstance(node, ast.ImportFrom):
        return node.module == "jax" and any(name.name in ("jit", "pmap") for name in node.names)
    return isinstance(node, ast.Import) and any(name.name == "jax" and name.asname for name in node.names)


def _is_of(node: ast.AST, function: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == function


FLAG = "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"


@pytest.mark.parametrize(
    ("before", "jaxlib", "expected"),
    [
        ("", "0.10.1", FLAG),
        ("--xla_dump_to=", "0.11.2", f"--xla_dump_to= {FLAG}"),
        ("--xla_cpu_experimental_ynn_fusion_type=", "0.11.2", "--xla_cpu_experimental_ynn_fusion_type="),
        ("flags.txt", "0.11.2", "flags.txt"),
        ("", "0.99.0", ""),  # XLA ends a process whose flags it does not know
    ],
)  # fmt: skip
def test_flags_are_added_to_those_of_the_user(
    before: str, jaxlib: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", before)
    monkeypatch.setattr(compiling, "version", lambda package: jaxlib)
    compiling.set_process_options()
    assert os.environ["XLA_FLAGS"] == expected


FUSED = (
    "import jax, jax.numpy as jnp; "
    "print(jax.jit(lambda x: jnp.tanh(x).sum(0)).lower(jnp.ones((999, 99))).compile().as_text())"
)


SET = """
import ctypes, rpo_jax
from scipy.linalg import cython_lapack
rpo_jax.use_cpu_cores()
library = ctypes.CDLL(cython_lapack.__file__)
print(getattr(library, "scipy_openblas_get_num_threads", lambda: 1)())  # of each device; not all have OpenBLAS
"""


def test_after_use_cpu_cores_ones_own_programs_sum_without_library_fusions_and_factorise_in_one_thread() -> None:
    ours = ("XLA_FLAGS", "OPENBLAS_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    texts = [
        subprocess.run(
            [sys.executable, "-c", f"{begin}{FUSED}"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for begin in ("", SET)
    ]
    assert texts[1].startswith("1\n")
    assert "__ynn_fusion" in texts[0]  # or nothing shows that it is gone
    assert "__ynn_fusion" not in texts[1]


NAMES = ("train", "compare", "resume", "evaluate", "play", "export")
COMMANDS = f"""
import os
import rpo_jax
from rpo_jax.cli.main import main
rpo_jax.fit, rpo_jax.load_run  # imported once, before the processes part; none of them starts JAX
for command in {NAMES}:
    if os.fork() == 0:
        main([command, "gymnax/None" if command in ("train", "compare") else "missing"])
        print(command, os.environ["XLA_FLAGS"], flush=True)
        os._exit(0)
    os.wait()
"""


def test_commands_set_the_options_of_their_process(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = re.findall(r"^(\w+) .*xla_cpu_experimental_ynn_fusion_type", done.stdout, re.MULTILINE)
    assert found == [*NAMES], done.stderr
