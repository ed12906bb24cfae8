"""Sweeps larger than memory are cut into equal calls of one program, and give what the uncut ones give."""

import functools
import signal
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from rpo_jax import SettingsError, fit, grid, seeds, sweep
from rpo_jax.execution import devices, memory
from rpo_jax.execution.batches import join_runs
from rpo_jax.execution.devices import spread_runs
from rpo_jax.execution.evaluations import Evaluation
from rpo_jax.execution.memory import fit_in_memory, needed_bytes, usable_bytes
from rpo_jax.execution.segments import compile_segment
from rpo_jax.execution.sweep import as_runs, compile_sweep

SETTINGS = grid(rpo_alpha=[0.0, 0.3])
RUNS = 10  # of five seeds


@pytest.fixture
def agent(monkeypatch):
    monkeypatch.setattr(devices, "ROWS", 1)  # a core takes runs one after another, as it does with large minibatches
    return toys.tiny_agent(updates=4)


def bytes_of(agent, num_runs, compile_for=compile_sweep):
    return needed_bytes(compile_for(as_runs(SETTINGS, seeds(0, RUNS // 2)), spread_runs(agent, num_runs)))


def assert_same(cut, whole):
    def same(x, y):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)

    jax.tree.map(same, cut, whole)


@pytest.mark.parametrize("runs_at_once", [3, 9])
def test_a_cut_sweep_is_the_uncut_one(agent, runs_at_once):
    whole = sweep(agent, SETTINGS, seeds(0, RUNS // 2))
    assert_same(sweep(agent, SETTINGS, seeds(0, RUNS // 2), runs_at_once=runs_at_once), whole)


@pytest.mark.parametrize(("runs_at_once", "in_one_call"), [(3, 3), (9, 5), (11, 10)])
def test_a_cut_fit_is_the_uncut_one(agent, runs_at_once, in_one_call):
    whole = fit(agent, SETTINGS, seeds(0, RUNS // 2))
    cut = fit(agent, SETTINGS, seeds(0, RUNS // 2), runs_at_once=runs_at_once)
    assert (whole.runs_at_once, cut.runs_at_once) == (RUNS, in_one_call)
    assert_same((cut.state, cut.metrics), (whole.state, whole.metrics))


def test_evaluations_that_do_not_fit_are_refused_before_anything_is_compiled(agent, monkeypatch):
    monkeypatch.setattr(memory, "usable_bytes", lambda devices: 2**20)
    monkeypatch.setattr("rpo_jax.execution.fit.fit_in_memory", None)
    evaluation = Evaluation(1, 10_000, jax.random.key(0))
    with pytest.raises(SettingsError, match=r"evaluating 10 policies in 10000 episodes each needs at least .* MiB"):
        fit(agent, SETTINGS, seeds(0, RUNS // 2), evaluation=evaluation, devices=jax.devices()[:1])
    with pytest.raises(SettingsError, match="evaluation_episodes=1000001 is out of range"):
        Evaluation(1, 1_000_001, jax.random.key(0))


def test_an_interrupt_of_a_cut_fit_leaves_all_runs_at_the_same_update(agent):
    def interrupt(progress):
        signal.raise_signal(signal.SIGINT)

    result = fit(agent, SETTINGS, seeds(0, RUNS // 2), interrupt, runs_at_once=3)
    assert result.interrupted
    assert {x.shape for x in result.metrics.values()} == {(2, 5, 1)}
    np.testing.assert_array_equal(result.state.update, np.ones((2, 5)))


def test_what_is_larger_than_memory_is_cut_to_fit(agent, monkeypatch):
    whole = sweep(agent, SETTINGS, seeds(0, RUNS // 2))
    usable = bytes_of(agent, 5)
    assert bytes_of(agent, RUNS) > usable
    monkeypatch.setattr(memory, "usable_bytes", lambda devices: usable)
    compiled = []

    def compile_for(spread):
        compiled.append(spread.num_runs)
        return compile_sweep(as_runs(SETTINGS, seeds(0, RUNS // 2)), spread)

    spread, program = fit_in_memory(agent, RUNS, None, None, compile_for)
    assert compiled[0] == RUNS
    assert 1 < spread.num_runs < RUNS
    assert needed_bytes(program) <= usable
    assert_same(sweep(agent, SETTINGS, seeds(0, RUNS // 2)), whole)
    monkeypatch.setattr(memory, "usable_bytes", lambda devices: bytes_of(agent, 5, compile_segment))
    assert fit(agent, SETTINGS, seeds(0, RUNS // 2)).runs_at_once == 5


def test_a_run_larger_than_memory_is_an_error_that_tells_what_would_fit(agent, monkeypatch):
    monkeypatch.setattr(memory, "usable_bytes", lambda devices: 100)
    for train in (sweep, fit):
        with pytest.raises(SettingsError, match=r"a run needs .* MiB .* 0\.0 MiB are usable; half of num_envs"):
            train(agent, SETTINGS, seeds(0, RUNS // 2))


def test_what_needs_as_much_with_fewer_runs_is_cut_until_one_is_left(agent, monkeypatch):
    monkeypatch.setattr(memory, "usable_bytes", lambda devices: 1000)
    monkeypatch.setattr(memory, "needed_bytes", lambda program: {4: 1200, 3: 1100}.get(program, 900))
    compile_for: Any = lambda spread: spread.num_runs  # noqa: E731
    assert fit_in_memory(agent, 4, None, None, compile_for)[1] == 2
    monkeypatch.setattr(memory, "needed_bytes", lambda program: 1200)
    with pytest.raises(SettingsError, match="a run needs"):
        fit_in_memory(agent, 4, None, None, compile_for)


@functools.cache
def two_sweeps(runs_at_once):
    """The states of a sweep, and what it and another one have compiled, with `ROWS` as users have it."""
    agent, compiled = toys.new_agent(updates=4), []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if "backend_compile" in event:
            compiled.append(event)

    keys = seeds(0, RUNS // 2), seeds(7, RUNS // 2)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        states, _ = sweep(agent, SETTINGS, keys[0], runs_at_once=runs_at_once)
        first = list(compiled)
        sweep(agent, grid(rpo_alpha=[0.1, 0.2]), keys[1], runs_at_once=runs_at_once)
        return states, first, compiled[len(first) :]
    finally:
        jax.monitoring.clear_event_listeners()


def test_a_cut_that_changes_how_many_runs_a_core_takes_changes_results_by_rounding_only():
    whole, cut = (two_sweeps(count)[0] for count in (None, 1))
    np.testing.assert_array_equal(jax.random.key_data(cut.key), jax.random.key_data(whole.key))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5), cut.policy, whole.policy)


@pytest.mark.parametrize("keys", [jax.random.key(0), jnp.zeros((3, 3), jnp.uint32)])
def test_what_is_not_a_list_of_keys_is_an_error(agent, keys):
    with pytest.raises(SettingsError, match=r"keys must be random keys \[N\], such as seeds\(0, N\), and not"):
        sweep(agent, SETTINGS, keys)


@pytest.mark.parametrize("runs_at_once", [0, -1])
def test_less_than_one_run_at_once_is_an_error(agent, runs_at_once):
    for train in (sweep, fit):
        with pytest.raises(SettingsError, match=rf"runs_at_once={runs_at_once} is out of range: it must be 1 or more"):
            train(agent, SETTINGS, seeds(0, 1), runs_at_once=runs_at_once)


@pytest.mark.parametrize("runs_at_once", [None, 1])
def test_a_second_sweep_compiles_nothing(runs_at_once):
    _, first, second = two_sweeps(runs_at_once)
    assert first
    assert second == []


def test_a_sweep_with_other_settings_of_jax_is_another_program(agent):
    runs = as_runs(SETTINGS, seeds(0, RUNS // 2))
    spread = spread_runs(agent, RUNS)
    program = compile_sweep(runs, spread)
    with jax.default_matmul_precision("highest"):
        assert compile_sweep(runs, spread) is not program
    assert compile_sweep(runs, spread) is program


def test_needed_bytes_are_those_of_arguments_results_and_what_is_between():
    x = jnp.ones((256, 256))
    assert needed_bytes(jax.jit(lambda x: x + 1).lower(x).compile()) == 2 * x.nbytes
    twice = jax.jit(lambda x: x @ x @ x).lower(x).compile()
    assert needed_bytes(twice) >= 3 * x.nbytes
    donated = jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile()
    assert needed_bytes(donated) == x.nbytes


def test_memory_of_a_run_grows_with_its_environments(agent):
    sizes = [
        fit(toys.tiny_agent(updates=1, num_envs=num_envs), SETTINGS, seeds(0, 1)).bytes_per_run
        for num_envs in (256, 1024)
    ]
    assert 3 < sizes[1] / sizes[0] < 4.5


def test_free_memory_is_shared_by_the_devices_of_a_cpu():
    one, two = (usable_bytes(jax.devices("cpu")[:1] * count) for count in (1, 2))
    if one is None or two is None:
        pytest.skip("this system does not tell")
    assert 2**20 < one < 2**50
    assert two == pytest.approx(one / 2, rel=0.2)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_runs_are_placed_in_equal_batches_and_joined(agent, size):
    runs = {"a": np.arange(7, dtype=np.int32), "key": jax.random.split(jax.random.key(0), 7)}
    spread = spread_runs(agent, size)
    batches = spread.place(runs)
    expected = spread.placed(runs)
    for batch in batches:
        assert {name: (x.shape, x.dtype, x.sharding) for name, x in batch.items()} == {
            name: (x.shape, x.dtype, x.sharding) for name, x in expected.items()
        }
    joined = join_runs([spread.runs(batch) for batch in batches], 7)
    np.testing.assert_array_equal(joined["a"], runs["a"])
    np.testing.assert_array_equal(jax.random.key_data(joined["key"]), jax.random.key_data(runs["key"]))
