"""What looks for faults of the machine finds them, and finds none where there are none."""

import dataclasses
import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import toys

from rpo_jax import Hyperparams, probe
from rpo_jax.cli import main
from rpo_jax.diagnosis import checks, numpy_update, processes
from rpo_jax.diagnosis.checks import Finding
from rpo_jax.diagnosis.machine import describe_machine
from rpo_jax.diagnosis.stepping import compare
from rpo_jax.update import update_policy

# The probe


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in which probes are remembered."""
    monkeypatch.setattr(probe.platformdirs, "user_cache_dir", lambda *args, **kwargs: str(tmp_path / "cache"))
    probe.warn_of_faults.cache_clear()
    yield tmp_path / "cache"
    probe.warn_of_faults.cache_clear()


def broken(compile: Any) -> bool:
    return False


def test_probes_pass_here() -> None:
    assert probe.failed_probes() == []


@pytest.mark.parametrize("name", probe.PROBES)
def test_a_probe_sees_a_wrong_result(name: str) -> None:
    def last_is_off(function: Any) -> Any:
        def run(*args: Any) -> Any:
            x = np.array(jax.jit(function)(*args))
            x.reshape(-1)[-1] += 0.01 * abs(x).max() + 0.1
            return x

        return run

    assert probe.PROBES[name](jax.jit)
    assert not probe.PROBES[name](last_is_off)


def test_a_fault_is_told_once_a_process_and_remembered(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def failing(compile: Any) -> bool:
        calls.append(compile)
        return False

    monkeypatch.setattr(probe, "PROBES", {"jax issue 1": failing, "jax issue 2": lambda compile: True})
    for _ in range(2):  # two processes
        with toys.told(r"computes wrong on this machine \(jax issue 1\): python -m pip install"):
            probe.warn_of_faults("cpu")
        probe.warn_of_faults("cpu")
        probe.warn_of_faults.cache_clear()
    assert len(calls) == 1
    (file,) = (memory / "probes").iterdir()
    assert json.loads(file.read_text()) == {"failed": ["jax issue 1"]}


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"failed": 3}'])
def test_a_damaged_memory_is_made_anew(content: str, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBES", {"jax issue 1": broken})
    file = probe._memory("cpu")
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with toys.told("jax issue 1"):
        probe.warn_of_faults("cpu")
    assert json.loads(file.read_text()) == {"failed": ["jax issue 1"]}


def test_where_nothing_can_be_kept_the_probe_is_made_again(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.write_text("a file where the folder should be")
    monkeypatch.setattr(probe, "PROBES", {"jax issue 1": broken})
    with toys.told("jax issue 1"):
        probe.warn_of_faults("cpu")


def test_another_jaxlib_or_other_flags_are_probed_anew(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = probe._memory("cpu")
    assert probe._memory("cpu") == before
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")
    assert probe._memory("cpu") != before
    monkeypatch.undo()
    monkeypatch.setattr(probe, "version", lambda package: "9.9.9")
    assert probe._memory("cpu") != before


# The update in NumPy


@pytest.mark.parametrize("clip_epsilon", [0.2, 0.01])
def test_gradients_by_hand_are_those_of_automatic_differentiation(clip_epsilon: float) -> None:
    agent = toys.tiny_agent(normalize_advantages="none")
    hyperparams = Hyperparams(clip_epsilon=clip_epsilon, entropy_coefficient=0.3, value_coefficient=0.7)
    params, batch = toys.random_params(agent), toys.random_batch((64,))
    offsets = np.random.default_rng(2).uniform(-0.5, 0.5, (64, 1)).astype(np.float32)

    def loss(params: Any) -> jax.Array:
        return oracles.loss(params, batch, offsets, hyperparams, agent.config, xp=jnp)[0]

    with jax.enable_x64(True):
        params, batch, offsets = jax.tree.map(
            lambda x: jnp.asarray(np.asarray(x), jnp.float64), (params, batch, offsets)
        )
        expected = jax.grad(loss)(params)["params"]
    params, batch, offsets = oracles.float64((params, batch, offsets))
    found = numpy_update.gradients(params["params"], batch, offsets, hyperparams)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), found, dict(expected))


def test_the_check_of_an_update_sees_one_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.update_by_numpy().ok

    def off(agent: Any, state: Any, batch: Any, key: Any, hyperparams: Any) -> Any:
        return update_policy(agent, state, batch, key, dataclasses.replace(hyperparams, clip_epsilon=0.19))

    monkeypatch.setattr(checks, "update_policy", off)
    finding = checks.update_by_numpy()
    assert not finding.ok
    assert "pip install" in finding.remedy


# Environments


def off_by(amount: float, at: int) -> Any:
    """A compiler whose programs are off at the first environment: at that step of a segment, and in the reset."""

    def compile(function: Any) -> Any:
        program = jax.jit(function)

        def run(*args: Any) -> Any:
            state, obs = program(*args)
            return state, obs.at[(at, slice(None)) if obs.ndim == 3 else 0].add(amount)

        return run

    return compile


def test_environments_that_are_right_are_found_to_be() -> None:
    found = compare(toys.reaching_env(), 16, 20)
    assert max(found.reset, *found.steps) < 1e-5
    assert 0 < found.nudged.first < 1e-5
    assert found.small


@pytest.mark.parametrize("amount", [50.0, np.nan, -np.inf])
def test_an_environment_that_is_wrong_is_found(amount: float) -> None:
    expected = 10.0 if amount == 50.0 else np.inf
    first, last = (compare(toys.reaching_env(), 16, 20, off_by(amount, step)) for step in (0, -1))
    assert first.steps.first >= expected
    assert last.steps.last >= expected
    assert first.steps.last < 1e-5
    assert last.steps.first < 1e-5
    assert first.reset == last.reset >= expected
    assert not first.small
    assert not last._replace(reset=0.0).small


# Processes


def sitecustomize(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs code at the start of every Python process, in place of a broken jaxlib."""
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


def test_a_check_that_crashes_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitecustomize("import os; os.kill(os.getpid(), 11)", tmp_path, monkeypatch)
    finding = processes.run_check("devices")
    assert not finding.ok
    assert signal.SIGSEGV.name in finding.text


def test_a_check_that_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitecustomize("import time; time.sleep(60)", tmp_path, monkeypatch)
    finding = processes.run_check("devices", time_out=1.0)
    assert not finding.ok
    assert "hangs" in finding.text


def test_a_check_that_fails_is_a_finding() -> None:
    finding = processes.run_check("no such check")
    assert not finding.ok
    assert "KeyError" in finding.text
    assert "report" in finding.remedy


@pytest.mark.parametrize("name", checks.checks_of(long=False))
def test_this_machine_computes_right(name: str) -> None:
    """Compiled as users compile, each in a process of its own."""
    finding = processes.run_check(name)
    assert finding.ok, finding


# The command


def findings(*given: tuple[str, Finding]) -> Any:
    return lambda names: iter(given)


def test_check_says_what_is_right(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(processes, "run_checks", findings(("update", Finding(True, "fine", "nothing"))))
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "ok    update: fine" in out
    assert "nothing" not in out
    for line in describe_machine():
        assert line in out


def test_check_says_what_is_wrong_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [(name, Finding(False, f"{name} is off", "take another")) for name in ("update", "devices")]
    monkeypatch.setattr(processes, "run_checks", findings(*wrong))
    assert main(["check", "--long"]) == 1
    out = capsys.readouterr().out
    assert "WRONG update: update is off" in out
    assert out.count("take another") == 1


def test_all_checks_are_run_and_long_ones_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "run_check", lambda name: Finding(True, name))
    short, long = (checks.checks_of(long=long) for long in (False, True))
    assert short.keys() < long.keys()
    assert {name: finding.text for name, finding in processes.run_checks(list(long))} == {name: name for name in long}
