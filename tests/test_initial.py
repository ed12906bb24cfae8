"""Training that begins with a trained policy."""

import json
import shlex
from functools import cache, partial

import jax
import numpy as np
import pytest
import toys

from rpo_jax import Hyperparams, Policy, SettingsError, fit, grid, init, seeds, sweep
from rpo_jax.cli.main import main
from rpo_jax.runs.results import load_run

pytestmark = pytest.mark.usefixtures("shared_agents")

SIZES = shlex.split(
    "--num-envs 16 --num-steps 8 --num-minibatches 4 --hidden-sizes 8 --num-seeds 2 --total-timesteps 2560"
)


@cache
def trained() -> Policy:
    result = fit(toys.tiny_agent(), grid(), seeds(7, 4))  # as many runs as others here: one program
    return jax.tree.map(lambda x: np.asarray(x[0, 0]), result.state.policy)


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_run_begins_with_the_policy_and_its_normalisation():
    policy = trained()
    begin = jax.jit(partial(init, toys.tiny_agent(), Hyperparams()))
    states = [begin(jax.random.key(seed), policy) for seed in (0, 1)]
    for state in states:
        assert_equal(state.policy, policy)
        assert state.update == 0
    keys = [jax.random.key_data(state.key) for state in states]
    assert (keys[0] != keys[1]).any()


def test_fit_and_sweep_begin_every_run_with_it():
    policy, agent = trained(), toys.tiny_agent()
    settings = grid(learning_rate=[0.0, 1e-2])
    state, metrics = sweep(agent, settings, seeds(0, 2), initial=policy)
    result = fit(agent, settings, seeds(0, 2), initial=policy)
    assert_equal(jax.tree.map(lambda x: x[0, 1], state.params), policy.params)  # which does not learn
    leaf = np.asarray(jax.tree.leaves(state.params)[-1])
    assert (leaf[0] != leaf[1]).any()
    assert (np.asarray(state.obs_moments.num_samples) > policy.obs_moments.num_samples).all()
    for name, values in result.metrics.items():
        np.testing.assert_allclose(values, metrics[name], rtol=1e-5, atol=1e-6, err_msg=name)
    fresh = fit(agent, settings, seeds(0, 2)).state
    assert (np.asarray(jax.tree.leaves(fresh.params)[-1]) != leaf).any()


def test_a_policy_of_other_sizes_is_refused():
    other = toys.tiny_agent(hidden_sizes=(9,))
    with pytest.raises(SettingsError, match=r"its .*Dense_0.* has shape \(8,\), and the agent's \(9,\)"):
        init(other, Hyperparams(), jax.random.key(0), trained())
    with pytest.raises(SettingsError, match="does not fit the agent"):
        fit(toys.tiny_agent(env=toys.counting_env(action_size=2)), grid(), seeds(0, 1), initial=trained())


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "run"
    assert main(["train", *SIZES, "--out", str(folder)]) == 0
    return folder


def test_a_folder_keeps_what_its_runs_began_with(first, tmp_path):
    folder = tmp_path / "second"
    changes = ["--learning-rate", "0", "--variant", "ppo", "--first-seed", "5"]
    assert main(["train", *SIZES, *changes, "--init-from", str(first), "--out", str(folder)]) == 0
    run, source = load_run(folder), load_run(first)
    returns = json.loads((first / "summary.json").read_text())["final_return"][0]
    returns = [-np.inf if value is None else value for value in returns]
    best = int(np.argmax(returns))
    assert run.spec.init_from == f"{first}: seed {best}"
    for seed in range(2):
        began, ended = source.policy.params, run.policy.params
        jax.tree.map(lambda x, y, s=seed: np.testing.assert_array_equal(x[0, best], y[0, s]), began, ended)


def test_a_comparison_begins_with_it_too(first, tmp_path):
    arguments = ["compare", *SIZES, "--init-from", str(first), "--out", str(tmp_path / "c")]
    assert main(arguments) == 0
    specs = [load_run(tmp_path / "c" / name).spec for name in ("rpo", "ppo")]
    assert len({spec.init_from for spec in specs}) == 1
    assert specs[0].init_from is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden-sizes", "9"], "does not fit the agent"),
        (["--normalize-observations", "False"], "was trained with normalize_observations=True"),
        (["--head", "tanh-normal"], "was trained with head=normal, and cannot begin a run with tanh-normal"),
    ],
)
def test_what_does_not_fit_is_told_before_a_folder_is_made(first, tmp_path, capsys, arguments, message):
    out = ["--out", str(tmp_path / "run"), "--init-from", str(first)]
    assert main(["train", *SIZES, *arguments, *out]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_damaged_initial_policy_is_told(first, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *SIZES, "--init-from", str(first), "--out", str(folder)]) == 0
    (folder / "summary.json").unlink()
    (folder / "initial.npz").write_bytes(b"nothing")
    assert main(["resume", str(folder)]) == 2
    assert "initial.npz is damaged or missing" in capsys.readouterr().err
