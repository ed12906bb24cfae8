"""Where work lies changes no result: one, two and eight devices, with more runs than devices and with fewer."""

import dataclasses
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
from on_eight_devices import CASES, TWICE

import rpo_jax
from rpo_jax import SettingsError
from rpo_jax.algorithm.rollout import collect_rollout
from rpo_jax.algorithm.sharing import AXIS, Share
from rpo_jax.compiling.cores import num_cores
from rpo_jax.execution.batches import map_in_batches
from rpo_jax.execution.devices import spread_runs
from rpo_jax.execution.env_axis import Layout, lay_out

SCRIPT = Path(__file__).parent / "on_eight_devices.py"
pytestmark = pytest.mark.timeout(900)  # the first waits for that script, which compiles for minutes on few cores


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("devices") / "results.npz"
    done = subprocess.run([sys.executable, str(SCRIPT), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(path) as stored:
        return dict(stored)


@pytest.mark.parametrize(("case", "count"), [*((case, 8) for case in CASES), *((case, 2) for case in TWICE)])
def test_a_run_does_not_depend_on_how_runs_lie_on_devices(results, case, count):
    names, runs = {name.rpartition("/")[2] for name in results if name.startswith(f"{case}/")}, CASES[case][0]
    for name in names:
        one, many = (results[f"{case}/{n}/{name}"] for n in (1, count))
        assert one.shape[:2] == (1, runs) or one.shape[0] == runs
        np.testing.assert_allclose(many, one, rtol=2e-3, atol=2e-5, err_msg=name)


def test_a_run_with_keys_in_its_state_is_resumed_bit_for_bit(results):
    names = [name.removeprefix("whole ") for name in results if name.startswith("whole ")]
    assert len(names) > 10
    for name in names:
        np.testing.assert_array_equal(results[f"resumed {name}"], results[f"whole {name}"], err_msg=name)


def test_a_run_that_devices_share_learns_pendulum(results):
    ends = results["returns on Pendulum"][~np.isnan(results["returns on Pendulum"])]
    assert ends[0] < -1000  # as at random
    assert ends[-1] > -700


def test_runs_exchange_nothing_and_shares_of_one_a_single_array_of_gradients(results):
    assert results["exchanges of 8"].tolist() == []
    assert results["exchanges of 1"].tolist().count("all-reduce") == 1  # in the loop over minibatches
    assert {*results["exchanges of 1"].tolist()} == {"all-reduce", "all-gather"}  # the samples of a round


def test_runs_differ_from_each_other(results):
    params = results["three runs/8/params"]
    assert len(np.unique(params[:, 0])) == 3


@pytest.mark.parametrize(
    ("runs", "devices", "sizes", "expected"),
    [
        (8, 1, {}, Layout(1, 1)),
        (8, 2, {}, Layout(2, 1)),
        (3, 8, {}, Layout(3, 2)),
        (1, 8, {"num_envs": 16}, Layout(1, 8)),
        (1, 8, {"num_envs": 12}, Layout(1, 6)),
        (1, 3, {"num_envs": 16}, Layout(1, 2)),
        (1, 8, {"num_envs": 1}, Layout(1, 1)),
        (1, 8, {"num_envs": 16, "shuffle": "environments"}, Layout(1, 8)),
        (1, 8, {"num_envs": 6, "shuffle": "environments"}, Layout(1, 3)),
        (2, 5, {"num_envs": 16}, Layout(2, 2)),
    ],
)
def test_runs_come_first_and_environments_take_what_is_left_over(runs, devices, sizes, expected):
    assert lay_out(runs, toys.tiny_config(**sizes), devices) == expected


@pytest.mark.parametrize(
    ("hidden_sizes", "rows"),
    [((), 2048), ((32, 32), 2048), ((64, 64), 1024), ((128, 128), 512), ((128,), 1024), ((1024, 1024), 512)],
)
def test_chunks_on_a_cpu_fit_the_cache_of_a_core(hidden_sizes, rows):
    share = spread_runs(toys.tiny_agent(hidden_sizes=hidden_sizes), 1, jax.devices()[:1]).agent.share
    assert share.chunk_size == rows * max(1, num_cores() // jax.local_device_count())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6])
def test_runs_in_batches_are_the_runs(batch_size):
    xs = {"a": np.arange(6.0), "b": np.arange(12.0).reshape(6, 2)}
    result = map_in_batches(lambda x: x["a"] * x["b"].sum(), xs, batch_size)
    np.testing.assert_allclose(result, xs["a"] * xs["b"].sum(1))


def test_environments_are_stepped_in_equal_blocks_that_fit_the_cache():
    state = {"x": np.zeros((96, 10), np.float32), "t": np.zeros(96, np.int32)}  # 44 bytes each
    blocks = {size: Share(1, size).num_blocks(state) for size in (None, 44 * 96, 44 * 95, 44 * 30, 44, 1)}
    assert blocks == {None: 1, 44 * 96: 1, 44 * 95: 2, 44 * 30: 4, 44: 96, 1: 96}


@pytest.mark.parametrize("env", [toys.counting_env(), toys.reaching_env()], ids=lambda env: env.name)
def test_a_rollout_in_blocks_is_the_rollout(env):
    agent = toys.tiny_agent(env=env, num_envs=12, num_steps=40)
    blocked = dataclasses.replace(agent, share=Share(1, 4 * 16))

    @partial(jax.jit, static_argnums=0)
    def act(agent):
        state = rpo_jax.init(agent, rpo_jax.Hyperparams(), jax.random.key(0))
        state, transitions = collect_rollout(agent, state, rpo_jax.Hyperparams(), jax.random.key(1))
        return state.env_state, transitions

    whole, in_blocks = act(agent), act(blocked)
    assert blocked.share.num_blocks(whole[0]) > 2
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-8), whole, in_blocks)


def test_shares_of_a_run_have_the_mean_and_variance_of_all():
    x = np.random.default_rng(0).normal(size=(4, 6, 2)).astype(np.float32)
    for axis in (None, 0, (0, 1)):
        found = Share().mean_and_variance(jnp.asarray(x), axis)
        np.testing.assert_allclose(found[0], x.mean(axis, keepdims=True), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[1], x.var(axis, keepdims=True), rtol=1e-5)
    of_share = jax.vmap(lambda part: Share(4).mean_and_variance(part, 0), axis_name=AXIS)(x)
    np.testing.assert_allclose(of_share[0][1, 0], x.reshape(24, 2).mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(of_share[1][2, 0], x.reshape(24, 2).var(0), rtol=1e-5)


def test_cores_cannot_be_asked_for_once_jax_has_started():
    assert jax.device_count() >= 1
    with pytest.raises(SettingsError, match="before anything is computed"):
        rpo_jax.use_cpu_cores(jax.device_count() + 1)


@pytest.mark.parametrize("count", [0, -1, 2.5, "2", True])
def test_a_number_of_cores_that_is_none_is_refused(count):
    with pytest.raises(SettingsError, match="1 or more"):
        rpo_jax.use_cpu_cores(count)
