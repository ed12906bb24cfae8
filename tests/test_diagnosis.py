"""What looks for faults of the machine finds them, and finds none where there are none."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import toys

from rpo_jax import Hyperparams, make_env
from rpo_jax.cli.main import main
from rpo_jax.compiling import probe
from rpo_jax.diagnosis import checks, numpy_update, processes
from rpo_jax.diagnosis.checks import Finding
from rpo_jax.diagnosis.machine import describe_machine
from rpo_jax.diagnosis.stepping import Comparison, Deviation, compare

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
        with toys.told(r"computes wrong results on this cpu \(jax issue 1\): .*rpo-jax check"):
            probe.warn_of_faults("cpu")
        probe.warn_of_faults("cpu")
        probe.warn_of_faults.cache_clear()
    assert len(calls) == 1
    (file,) = (memory / "probes").iterdir()
    assert json.loads(file.read_text()) == {"failed": ["jax issue 1"]}


@pytest.mark.parametrize("release", probe.BROKEN["cpu"])
def test_a_version_that_is_shut_out_is_told_without_a_probe(
    release: str, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "version", lambda package: release)
    monkeypatch.setattr(checks, "version", lambda package: release)
    with toys.told(rf"jaxlib {release} .*jax issue.*: python -m pip install 'jax!=0.10.2,!=0.11.0,!=0.11.1,<0.12'"):
        probe.warn_of_faults("cpu")
    assert not memory.exists()
    finding = checks.devices()
    assert not finding.ok
    assert "jax issue" in finding.text
    assert "pip install" in finding.remedy


def test_pyproject_shuts_out_what_is_known_to_be_broken() -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    for release in probe.BROKEN["cpu"]:
        assert text.count(f"!={release}") == 2  # jax and jaxlib


def test_probes_are_made_whatever_the_user_has_set(memory: Path) -> None:
    with jax.disable_jit(), jax.enable_x64(True), jax.transfer_guard("disallow"), jax.debug_nans(True):
        assert probe.failed_probes() == []


def test_a_probe_that_cannot_be_made_is_not_remembered(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(compile: Any) -> bool:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED")

    monkeypatch.setattr(probe, "PROBES", {"jax issue 1": full})
    probe.warn_of_faults("cpu")
    assert not memory.exists()


def test_without_a_home_the_probe_is_made_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(*args: Any, **kwargs: Any) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(probe.platformdirs, "user_cache_dir", no_home)
    monkeypatch.setattr(probe, "PROBES", {"jax issue 1": broken})
    probe.warn_of_faults.cache_clear()
    with toys.told("jax issue 1"):
        probe.warn_of_faults("cpu")
    probe.warn_of_faults.cache_clear()


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"failed": 3}', '{"failed": "abc"}'])
def test_a_damaged_memory_is_made_anew(content: str, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBES", {"jax issue 1": broken})
    file = probe._cache_file(jax.devices("cpu")[0])
    assert file
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with toys.told("jax issue 1"):
        probe.warn_of_faults("cpu")
    assert json.loads(file.read_text()) == {"failed": ["jax issue 1"]}


def test_a_machine_that_is_not_here_is_not_probed(memory: Path) -> None:
    probe.warn_of_faults("tpu")
    assert not memory.exists()


def test_where_nothing_can_be_kept_the_probe_is_made_again(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.write_text("a file where the folder should be")
    monkeypatch.setattr(probe, "PROBES", {"jax issue 1": broken})
    with toys.told("jax issue 1"):
        probe.warn_of_faults("cpu")


def test_another_jaxlib_or_other_flags_are_probed_anew(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = probe._cache_file(jax.devices("cpu")[0])
    assert probe._cache_file(jax.devices("cpu")[0]) == before
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_experimental_ynn_fusion_type=")
    assert probe._cache_file(jax.devices("cpu")[0]) != before
    monkeypatch.undo()
    monkeypatch.setattr(probe, "version", lambda package: "9.9.9")
    assert probe._cache_file(jax.devices("cpu")[0]) != before


# The update in NumPy


@pytest.mark.parametrize("clip_epsilon", [0.2, 0.01])
def test_gradients_by_hand_are_those_of_automatic_differentiation(clip_epsilon: float) -> None:
    agent = toys.tiny_agent(normalize_advantages="none", hidden_sizes=(8, 8))
    hyperparams = Hyperparams(clip_epsilon=clip_epsilon, entropy_coefficient=0.3, value_coefficient=0.7)
    params, batch = toys.random_params(agent), toys.random_batch((64,))
    offsets = np.random.default_rng(2).uniform(-0.5, 0.5, (64, 1)).astype(np.float32)

    def loss(params: Any, batch: Any, offsets: Any) -> jax.Array:
        return oracles.loss(params, batch, offsets, hyperparams, agent.config, xp=jnp)[0]

    with jax.enable_x64(True):
        params, batch, offsets = oracles.float64((params, batch, offsets))
        expected = jax.jit(jax.grad(loss))(params, batch, offsets)["params"]
    found = numpy_update.gradients(params["params"], batch, offsets, hyperparams)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-9), found, dict(expected))


@pytest.fixture(scope="module")
def one_agent() -> Iterator[None]:
    """Checks have the same agent, and the same functions of it, so that each is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "_small_agent", cache(checks._small_agent))
        patch.setattr(checks, "partial", cache(partial))
        yield


@pytest.mark.usefixtures("one_agent")
@pytest.mark.parametrize("name", ["update_policy", "generalized_advantage_estimation"])
def test_the_check_of_an_update_sees_one_that_is_off(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = getattr(checks, name)

    def off(*args: Any, **kwargs: Any) -> Any:
        return jax.tree.map(lambda x: x * 1.01 if jnp.issubdtype(x.dtype, jnp.floating) else x, own(*args, **kwargs))

    assert checks.update().ok
    monkeypatch.setattr(checks, name, off)
    finding = checks.update()
    assert not finding.ok
    assert finding.remedy


@pytest.mark.usefixtures("one_agent")
def test_an_update_that_gives_other_bits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    own, calls = checks._compare_bits, []

    def other(first: Any, second: Any) -> Finding:
        calls.append(own(first, jax.tree.map(lambda x: np.nextafter(x, np.inf), second)))
        return calls[0]

    monkeypatch.setattr(checks, "_compare_bits", other)
    assert not checks.update().ok
    assert "different bits" in calls[0].text


# Environments


def changed(change: Any) -> dict[str, Any]:
    """A compiler whose programs give other observations, [SEGMENT, N, O + 1] of steps or [N, O] of a reset."""

    def compile(function: Any) -> Any:
        program = jax.jit(function)

        def run(*args: Any) -> Any:
            state, obs = program(*args)
            return state, change(obs)

        return run

    return {"changed": compile}


def test_environments_that_are_right_are_found_to_be() -> None:
    found = compare(toys.reaching_env(), 16, 20)
    assert found.keys() == {"by jax.jit", "by rpo_jax"}
    for differences in found.values():
        assert max(differences.reset.worst, differences.steps.first) < 1e-5
        assert 0 < differences.nudged.first < 1e-5
        assert differences.wrong == []


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda x: x.at[0, -1].add(0.5) if x.ndim == 3 else x, "one step"),
        (lambda x: x.at[-1, -1].add(5.0) if x.ndim == 3 else x, "ten steps"),
        (lambda x: x if x.ndim == 3 else x.at[-1].add(0.5), "reset off"),
        (lambda x: x if x.ndim == 3 else x.at[2, 0].set(jnp.nan), "resets of 1 environments not finite"),
        (lambda x: 0 * x if x.ndim == 3 else x, "one step"),
        (lambda x: jnp.broadcast_to(x[:, :1], x.shape) if x.ndim == 3 else x, "one step"),
        (lambda x: x.at[4, 3].set(jnp.nan) if x.ndim == 3 else x, "1 environments not finite"),
    ],
    ids=[
        "last at the first step",
        "last at the tenth",
        "reset",
        "NaN in a reset",
        "zeros",
        "all the same",
        "NaN on the way",
    ],
)
def test_an_environment_that_is_wrong_is_found(change: Any, wrong: str) -> None:
    found = compare(toys.reaching_env(), 16, 20, changed(change))["changed"]
    assert any(wrong in told for told in found.wrong), found


def test_what_is_allowed_is_bounded_however_chaotic_an_environment() -> None:
    right, chaotic = Deviation(0.0, 0.0, 0, 0.0, 0.0), Deviation(9.0, 9.0, 0, 0.1, 9.0)
    assert Comparison(right, Deviation(0.09, 0.09, 0, 0.2, 80.0), chaotic).wrong == []
    assert len(Comparison(right, Deviation(0.2, 0.2, 1, 0.4, 100.0), chaotic).wrong) == 5


@pytest.mark.parametrize(("often", "told"), [(1, None), (20, "of all resets off")])
def test_a_reset_may_be_off_now_and_then_but_not_often(often: int, told: str | None) -> None:
    calls = iter(range(3))

    def change(x: jax.Array) -> jax.Array:
        """In the first of three batches of resets, where contacts amplified rounding."""
        return x.at[:often].add(0.5) if x.ndim == 2 and next(calls) == 0 else x

    found = compare(toys.reaching_env(), 512, 10, changed(change))["changed"]
    assert found.wrong == [] if told is None else any(told in text for text in found.wrong)


@pytest.mark.parametrize("value", [1e33, np.inf, 0.3])
def test_what_is_wrong_now_and_then_is_found(value: float) -> None:
    random = np.random.default_rng(0)

    def compile(function: Any) -> Any:
        program = jax.jit(function)

        def run(*args: Any) -> Any:
            state, obs = program(*args)
            return state, jnp.where(random.uniform(size=(*obs.shape[:-1], 1)) < 0.05, obs + value, obs)

        return run

    found = compare(make_env("gymnax/Pendulum-v1"), 128, 50, {"now and then": compile})["now and then"]
    assert any("of all rows" in told for told in found.wrong), found


def test_a_single_value_far_off_is_found() -> None:
    change = changed(lambda x: x.at[4, 3].set(1e33) if x.ndim == 3 else x)
    assert any("one of all rows off" in told for told in compare(toys.reaching_env(), 16, 20, change)["changed"].wrong)


# Processes


def sitecustomize(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs code at the start of every Python process, in place of a broken jaxlib."""
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


def test_a_check_that_crashes_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitecustomize("import os; os.kill(os.getpid(), 11)", tmp_path, monkeypatch)
    first, second = processes.run_group(["devices", "update"])
    assert not first.ok
    assert signal.SIGSEGV.name in first.text
    assert (second.ok, second.text) == (False, "not reached")


def test_a_check_that_is_killed_blames_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitecustomize("import os; os.kill(os.getpid(), 9)", tmp_path, monkeypatch)
    (finding,) = processes.run_group(["devices"])
    assert "memory" in finding.text
    assert "free memory" in finding.remedy


def test_a_check_that_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitecustomize("import time; time.sleep(60)", tmp_path, monkeypatch)
    (finding,) = processes.run_group(["devices"], time_out=1.0)
    assert not finding.ok
    assert "no answer" in finding.text


@pytest.fixture(scope="module")
def with_failures() -> list[Finding]:
    """Of an error in a check, a check that is right, and one that ends the process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUMPY_DTYPE_PROMOTION", "strict")
        return processes.run_group(["training", "devices", "no such check"])


def test_an_error_in_a_check_hides_none_after_it(with_failures: list[Finding]) -> None:
    first, second, _ = with_failures
    assert "TypePromotionError" in first.text
    assert "JAX_NUMPY_DTYPE_PROMOTION" in first.remedy
    assert second.ok


def test_a_check_that_fails_is_a_finding_and_those_before_it_are_kept(with_failures: list[Finding]) -> None:
    _, first, second = with_failures
    assert first.ok
    assert not second.ok
    assert "no such check" in second.text
    assert "report" in second.remedy


def test_what_xla_says_of_a_flag_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
    (finding,) = processes.run_group(["devices"])
    assert "xla_no_such_flag" in finding.text
    assert "XLA_FLAGS" in finding.remedy


def test_processes_end_where_the_caller_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = (
        "import os, sys, time\nif 'products' in sys.orig_argv: open({!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    )
    sitecustomize(hangs.format(str(tmp_path / "pid")), tmp_path, monkeypatch)
    monkeypatch.setattr(processes, "num_cores", lambda: 2)
    findings = processes.run_checks([["products"], ["devices"]])
    assert next(findings)[0] == "devices"
    findings.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_processes_end_with_the_one_that_started_them() -> None:
    command = [sys.executable, "-m", "rpo_jax.diagnosis", "crashes", "brax/inverted_pendulum"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin
    process.stdin.close()
    assert process.wait(60) == 1


@pytest.fixture(scope="module")
def found_here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    """Compiled as users compile, in a process of their own, in a folder with a module that fails."""
    folder = tmp_path_factory.mktemp("current")
    (folder / "gymnax.py").write_text("raise RuntimeError")
    general, *_ = checks.checks_of(long=False)
    names = ["training", *general]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("XLA_FLAGS", "PJRT_NPROC", "PYTHONPATH"):
            patch.delenv(variable, raising=False)
        return dict(zip(names, processes.run_group(names, time_out=250.0), strict=True))


def test_this_machine_computes_right(found_here: dict[str, Finding]) -> None:
    """Environments follow."""
    for finding in found_here.values():
        assert finding.ok, finding


def test_modules_in_the_current_folder_are_not_imported(found_here: dict[str, Finding]) -> None:
    assert found_here["gymnax/Pendulum-v1"].ok, found_here


def test_an_environment_compiled_as_users_compile_steps_right_here() -> None:
    """As `rpo-jax check` does with one of each suite, and `rpo-jax check --long` with more: in a minute, and more."""
    with toys.compiled_with({}):
        finding = checks.environment("gymnax/Pendulum-v1", ("by jax.jit", "by rpo_jax"))
    assert finding.ok, finding


def test_every_check_of_an_environment_makes_that_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def same(env: str, num_envs: int, num_steps: int, compilers: Any) -> dict[str, Comparison]:
        compared.append(env)
        none = Deviation(0.0, 0.0, 0, 0.0, 0.0)
        return {name: Comparison(Deviation(0.0, 0.0, 0, 0.0, 0.0), none, none) for name in compilers}

    monkeypatch.setattr(checks, "make_env", lambda name, **options: name)
    monkeypatch.setattr(checks, "compare", same)
    named = {name: check for group in checks.checks_of(long=True) for name, check in group.items() if "/" in name}
    for check in named.values():
        assert check().ok
    assert compared == [name.partition(" ")[0] for name in named]
    assert set(checks.LONG) <= named.keys()


# The command


def findings(*given: tuple[str, Finding]) -> Any:
    return lambda groups: iter(given)


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
    monkeypatch.setattr(processes, "run_group", lambda names, **more: [Finding(True, name) for name in names])
    short, long = ([list(group) for group in checks.checks_of(long=long)] for long in (False, True))
    assert short == long[: len(short)]
    assert len(long) > len(short)
    found = {name: finding.text for name, finding in processes.run_checks(long)}
    assert found == {name: name for group in long for name in group}
