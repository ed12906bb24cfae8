"""Policies as programs that need nothing of rpo_jax: they act as the policy does, wherever they run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
from rich.console import Console

from rpo_jax import SettingsError, TrainConfig, make_agent
from rpo_jax.algorithm.heads import HEADS
from rpo_jax.algorithm.networks import ActorCritic
from rpo_jax.algorithm.normalization import Moments
from rpo_jax.algorithm.types import Policy
from rpo_jax.cli.main import main
from rpo_jax.export import policy as export
from rpo_jax.runs.choose import choose
from rpo_jax.runs.launch import run_to_folder
from rpo_jax.runs.results import LoadedRun, load_run, read_metrics
from rpo_jax.runs.session import Session
from rpo_jax.settings.spec import make_spec

pytestmark = pytest.mark.usefixtures("shared_agents")

PLACE = (1, 2)


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("learned") / "run"
    small = {"num_envs": 64, "num_steps": 32, "num_minibatches": 4, "total_timesteps": 200_000, "learning_rate": 5e-3}
    spec = make_spec("gymnax/Pendulum-v1", num_seeds=2, first_seed=5, **small)
    with toys.compiled_with(toys.LEARNING):
        run_to_folder(spec, path, Session(Console(quiet=True)))
    return path


@pytest.fixture(scope="module")
def exported(learned) -> Path:
    assert main(["export", str(learned), "--out", str(learned / "out")]) == 0
    return learned / "out"


PLAY = """
import sys
import gymnasium
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
envs = gymnasium.make_vec("Pendulum-v1", num_envs=40, vectorization_mode="sync")
obs, _ = envs.reset(seed=0)
total = np.zeros(40)
for _ in range(200):
    action = session.run(["action"], {"observation": obs})[0]
    obs, reward, *_ = envs.step(action)
    total += reward
assert not any(name.startswith(("rpo_jax", "jax")) for name in sys.modules)
print(total.mean())
"""


def test_the_policy_that_is_exported_learned_pendulum(learned):
    returns = read_metrics(learned, load_run(learned).spec)["episode_return"][0]  # [S, U]
    begun = [row[~np.isnan(row)][0] for row in returns]
    assert max(begun) < -900  # as at random
    assert min(json.loads((learned / "summary.json").read_text())["final_return"][0]) > -250


def test_the_onnx_file_solves_gymnasiums_pendulum_without_us(exported):
    done = subprocess.run(
        [sys.executable, "-c", PLAY, str(exported / "policy.onnx")], capture_output=True, text=True, check=True
    )
    assert -250 < float(done.stdout) < -100


def test_the_stablehlo_file_needs_jax_only(exported, learned):
    program = (
        "import sys, jax, numpy as np\n"
        "call = jax.export.deserialize(bytearray(open(sys.argv[1], 'rb').read())).call\n"
        "print(np.asarray(call(np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3))).ravel().tolist())\n"
        "assert 'rpo_jax' not in sys.modules\n"
    )
    path = str(exported / "policy.stablehlo")
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    run = load_run(learned)
    obs = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_allclose(json.loads(done.stdout), _by_hand(run, choose(learned, run), obs).ravel(), atol=1e-5)


def _by_hand(run: LoadedRun, place: tuple[int, int], obs: np.ndarray) -> np.ndarray:
    """In NumPy, for a normal head."""
    policy = jax.tree.map(lambda x: np.asarray(x[place], float), run.policy)
    x = np.clip((obs - policy.obs_moments.mean) / np.sqrt(policy.obs_moments.variance + 1e-8), -10, 10)
    layers = policy.params["params"]["policy"]
    for name in ("Dense_0", "Dense_1"):
        x = np.tanh(x @ layers[name]["kernel"] + layers[name]["bias"])
    return np.clip(x @ layers["Dense_2"]["kernel"] + layers["Dense_2"]["bias"], -2, 2)


class Larger(ActorCritic):
    """A network of a user, which computes what an exporter cannot know."""


def made_up(
    head: str, sizes: tuple[int, ...] = (7, 5), size: float = 1.0, network: nn.Module | None = None, **settings
) -> LoadedRun:
    """A sweep [2, 3] of random policies with moments, on a task of two observations and three actions."""
    spec = make_spec("gymnax/Pendulum-v1", num_seeds=3, observation_clip=[1.5, 4.0])
    env = toys.counting_env(-0.7, 1.3, action_size=3)
    agent = make_agent(env, config=TrainConfig(hidden_sizes=sizes, **settings), head=HEADS[head], network=network)
    random = np.random.default_rng(3)

    def numbers(*shape: int) -> Any:
        return random.normal(size=(2, 3, *shape)).astype(np.float32)

    params = jax.tree.map(lambda x: np.float32(size) * numbers(*x.shape), toys.random_params(agent))
    return LoadedRun(spec, agent, Policy(params, Moments(numbers(2), numbers(2) ** 2 + np.float32(0.1), numbers())))


CASES = [
    *({"head": head} for head in HEADS),
    {"head": "normal", "normalize_observations": False},
    {"head": "gumbel", "activation": "relu"},
    *({"head": head, "std": "state"} for head in ("normal", "gumbel", "tanh-normal")),
    {"head": "laplace", "activation": "swish", "policy_observation_scale": (3.0, 0.5)},
    # A user's own, which differs from what the configuration describes.
    {"head": "gumbel", "network": ActorCritic(3, (6,), "relu", policy_scale=(2.0, 0.1), std="state")},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("maker", [export.to_stablehlo, export.to_onnx])
def test_every_kind_of_policy_acts_as_it_does_here(case, maker):
    run = made_up(**case)
    program = maker(run, PLACE)
    obs = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32) * 5
    agent, policy = run.agent, jax.tree.map(lambda x: x[PLACE], run.policy)
    seen = agent.normalize(policy.obs_moments, jnp.asarray(obs), 4.0)
    loc, log_scale = agent.act(policy.params, seen)
    draws = agent.head.family(loc, jnp.exp(log_scale)).mean()
    expected = agent.to_env(jnp.broadcast_to(draws, loc.shape))
    np.testing.assert_allclose(program.call(obs), expected, atol=2e-5)
    assert program.call(obs[:1]).shape == (1, 3)


@pytest.mark.parametrize("maker", [export.to_stablehlo, export.to_onnx])
def test_squashed_actions_of_programs_are_never_outside_of_the_bounds(maker):
    run = made_up("tanh-normal", size=50.0)  # whose outputs are far out
    # Such that sums of them are rounded up.
    low, high = np.asarray([[-1.2, 2.14, -1.95], [0.7, 7.02, 0.51]], np.float32)
    agent = make_agent(run.agent.env._replace(low=low, high=high), config=run.agent.config, head=run.agent.head)
    obs = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    action = np.asarray(maker(run._replace(agent=agent), PLACE).call(obs))
    assert ((low <= action) & (action <= high)).all()
    assert (action == high).any()


@pytest.mark.parametrize("maker", ["to_stablehlo", "to_onnx"])
@pytest.mark.parametrize("error", [3e-4, np.nan])
def test_where_a_program_acts_otherwise_none_is_written(tmp_path, monkeypatch, maker, error):
    honest = getattr(export, maker)

    def off(run, place):
        program = honest(run, place)
        return program._replace(call=lambda obs: program.call(obs) + error)

    monkeypatch.setattr(export, maker, off)
    with pytest.raises(SettingsError, match=r"differs from the policy by (0\.0003|nan)"):
        export.export(made_up("normal"), PLACE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_action_with_narrow_bounds_is_tried_as_well_as_one_with_wide_ones(tmp_path, monkeypatch):
    honest, run = export.to_stablehlo, made_up("tanh-normal")  # which fills the bounds
    scale = jnp.asarray([1000.0, 0.001, 1.0])
    env = run.agent.env._replace(low=-np.asarray(scale), high=np.asarray(scale))
    run = run._replace(agent=make_agent(env, config=run.agent.config, head=run.agent.head))
    export.export(run, PLACE, tmp_path)

    def flipped(run, place):
        program = honest(run, place)
        return program._replace(call=lambda obs: program.call(obs) * np.array([1, -1, 1], np.float32))

    monkeypatch.setattr(export, "to_stablehlo", flipped)
    with pytest.raises(SettingsError, match="differs from the policy"):
        export.export(run, PLACE, tmp_path)


def test_a_deep_policy_with_large_weights_is_no_false_alarm(tmp_path):
    run = made_up("normal", sizes=(64,) * 10, size=1.0)
    differences = export.export(run, PLACE, tmp_path)
    assert differences["policy.onnx"] > 1e-4


def test_a_policy_that_diverged_and_a_folder_that_is_a_file_are_refused(tmp_path):
    run = made_up("normal")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="file is a file, and a folder is needed"):
        export.export(run, PLACE, tmp_path / "file")
    places = np.zeros((2, 3), bool)
    places[PLACE] = True
    broken = jax.tree.map(lambda x: np.where(places.reshape(2, 3, *[1] * (x.ndim - 2)), np.nan, x), run.policy)
    with pytest.raises(SettingsError, match=r"seed 2 of observation_clip=4 has diverged; choose another"):
        export.export(run._replace(policy=broken), PLACE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_products_are_not_rounded_on_any_platform(tmp_path):
    program = export.to_stablehlo(made_up("normal"), PLACE)
    text = jax.export.deserialize(bytearray(program.content)).mlir_module()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert len(products) >= 3
    assert all("HIGHEST" in line for line in products)


def test_a_network_of_a_users_own_class_is_not_translated():
    assert "Larger is a network of your own" in str(export.why_no_onnx(made_up("normal", network=Larger(3)).agent))


def test_without_onnx_the_rest_is_written_and_said(learned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    assert main(["export", str(learned), "--out", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["policy.stablehlo"]
    assert "pip install 'rpo_jax[export]'" in capsys.readouterr().out


def test_the_best_is_chosen_and_others_can_be(learned, capsys):
    run = load_run(learned)
    returns = json.loads((learned / "summary.json").read_text())["final_return"][0]
    assert choose(learned, run) == (0, int(np.argmax(returns)))
    assert choose(learned, run, seed=6) == (0, 1)
    for setting, seed, words in ((1, None, "no setting 1; it has 0"), (None, 4, "no seed 4; it has 5 ... 6")):
        with pytest.raises(SettingsError, match=words):
            choose(learned, run, setting, seed)
    assert main(["export", str(learned), "--seed", "9"]) == 2
    assert "no seed 9" in capsys.readouterr().err
