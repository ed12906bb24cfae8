"""What Python trains can be kept, and acts outside of JAX."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

import rpo_jax
from rpo_jax import SettingsError
from rpo_jax.cli.main import main

pytestmark = pytest.mark.usefixtures("shared_agents")
SIZES = {"num_envs": 8, "num_steps": 16, "num_minibatches": 4, "total_timesteps": 512, "hidden_sizes": (8,)}


def wrong(value: object) -> Any:
    """A value of another type than is declared."""
    return value


@pytest.fixture(scope="module")
def trained() -> tuple[Any, rpo_jax.Fit]:
    spec = rpo_jax.make_spec(
        "gymnax/Pendulum-v1", num_seeds=2, rpo_alpha=[0.1, 0.5], observation_clip=[0.5, 10.0], **SIZES
    )
    return spec, rpo_jax.fit(spec.agent(), spec.hyperparams, rpo_jax.seeds(0, 2))


@pytest.fixture(scope="module")
def folder(trained: tuple[Any, rpo_jax.Fit], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("saved") / "run")
    rpo_jax.save_run(path, *trained)
    return path


def test_a_saved_run_is_read_as_it_was_and_by_the_commands(trained: Any, folder: str) -> None:
    spec, result = trained
    run = rpo_jax.load_run(folder)
    assert dataclasses.replace(run.spec, hyperparams=spec.hyperparams) == spec
    jax.tree.map(np.testing.assert_array_equal, run.policy, result.state.policy)
    assert (Path(folder) / "curves.png").exists()
    assert main(["evaluate", folder, "--num-episodes", "2"]) == 0
    assert main(["resume", folder]) == 0  # it is finished
    with pytest.raises(SettingsError, match="already holds a run"):
        rpo_jax.save_run(folder, spec, result)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"num_seeds": 3}, "other seeds"),
        ({"first_seed": 100}, "other seeds"),
        ({"learning_rate": 1.0}, "other hyperparameters"),
        ({"variant": "rpo-range"}, "other variant"),
        ({"env": "gymnax/MountainCarContinuous-v0"}, "other environment"),
        ({"num_steps": 32}, "other configuration"),
        ({"num_evaluations": 2}, "other number of evaluation episodes"),
    ],
)
def test_a_result_of_something_else_is_refused(other: dict[str, Any], words: str, trained: Any, tmp_path: Path) -> None:
    settings = {"env": "gymnax/Pendulum-v1", "num_seeds": 2, "rpo_alpha": [0.1, 0.5], "observation_clip": [0.5, 10.0]}
    with pytest.raises(SettingsError, match=f"not that of the specification: {words}"):
        rpo_jax.save_run(tmp_path / "run", rpo_jax.make_spec(**{**settings, **SIZES, **other}), trained[1])
    assert not (tmp_path / "run").exists()


def test_evaluations_are_saved_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr("rpo_jax.runs.launch.draw", lambda curves, title, path: drawn.append(curves["rpo"]))
    spec = rpo_jax.make_spec("gymnax/Pendulum-v1", num_seeds=8, num_evaluations=2, evaluation_episodes=3, **SIZES)
    evaluation = rpo_jax.Evaluation(2, 3, jax.random.key(5))
    result = rpo_jax.fit(spec.agent(), spec.hyperparams, rpo_jax.seeds(0, 8), evaluation=evaluation)
    rpo_jax.save_run(tmp_path / "run", spec, result)
    assert result.evaluated is not None
    np.testing.assert_array_equal(drawn[0].evaluation_return, result.evaluated.returns[0].mean(-1))
    np.testing.assert_array_equal(drawn[0].evaluation_steps, 128 * result.evaluated.updates)
    assert rpo_jax.load_policy(tmp_path / "run", best=True)(np.zeros(3)).shape == (1,)


def test_a_policy_acts_on_an_environment_of_gymnasium(trained: Any, folder: str) -> None:
    spec, result = trained
    policy = rpo_jax.load_policy(folder, setting=1, seed=0)
    env = gymnasium.make("Pendulum-v1")
    obs, _ = env.reset(seed=0)
    for _ in range(3):
        action = policy(obs)
        one = jax.tree.map(lambda x: x[1, 0], result.state.policy)
        loc, _ = spec.agent().distribution(one, jnp.asarray(obs), 10.0)
        np.testing.assert_allclose(action, np.clip(loc, -2, 2), rtol=1e-5, atol=1e-6)
        obs, *_ = env.step(action)
    many = np.stack([obs, 2 * obs])
    np.testing.assert_allclose(policy(many)[1], policy(2 * obs), rtol=1e-5, atol=1e-6)
    clipped, own = (rpo_jax.load_policy(folder, setting=setting, seed=0) for setting in (0, 1))
    assert (clipped(100 * obs) == clipped(50 * obs)).all()
    assert (own(3 * obs) != own(2 * obs)).any()
    same = rpo_jax.make_policy(spec.agent(), result.state, run=(1, 0))
    np.testing.assert_array_equal(same(obs), policy(obs))
    with pytest.raises(SettingsError, match=r"has shape \[3\], and not \[2\]"):
        policy(obs[:2])
    with pytest.raises(SettingsError, match="is an array of numbers, and not 'x'"):
        policy("x")  # pyright: ignore[reportArgumentType]


def test_a_policy_acts_in_programs_of_jax_too(folder: str) -> None:
    policy = rpo_jax.load_policy(folder, setting=1, seed=0)
    batch = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    expected = policy(batch)
    for program, obs in ((policy, batch), (policy, batch[0]), (jax.vmap(policy), batch)):
        found = jax.jit(program)(jnp.asarray(obs))
        assert isinstance(found, jax.Array)
        np.testing.assert_allclose(found, expected if obs.ndim == 2 else expected[0], rtol=1e-5, atol=1e-6)
    known, numbers = batch[0], batch[0].tolist()
    np.testing.assert_allclose(jax.jit(lambda x: x + policy(known))(1.0), 1 + expected[0], rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda x: policy([x, *numbers[1:]]))(numbers[0]), expected[0], rtol=1e-5)
    with pytest.raises(SettingsError, match=r"has shape \[3\], and not \[2\]"):
        jax.jit(policy)(jnp.zeros(2))


def test_a_policy_is_exported_from_python(folder: str, tmp_path: Path) -> None:
    differences = rpo_jax.export_policy(folder, str(tmp_path / "out"), seed=1)
    assert differences.keys() == {"policy.stablehlo", "policy.onnx"}
    assert all((tmp_path / "out" / name).exists() for name in differences)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda agent, state: rpo_jax.make_agent(wrong("gymnax/Pendulum-v1")),
            "env must be of type Environment, such",
        ),
        (
            lambda agent, state: rpo_jax.make_agent(agent.env, config=wrong({"num_envs": 8})),
            "config must be of type Tr",
        ),
        (lambda agent, state: rpo_jax.make_agent(agent.env, "rop"), "unknown variant 'rop'; did you mean"),
        (lambda agent, state: rpo_jax.make_agent(agent.env, head="tanhnormal"), "unknown head 'tanhnormal'"),
        (lambda agent, state: rpo_jax.evaluate(agent, state, jax.random.key(0), 4), r"holds runs \[4, 2\], and one is"),
        (lambda agent, state: rpo_jax.make_policy(agent, state, run=(0,)), r"holds runs \[2\], and one is needed"),
        (
            lambda agent, state: rpo_jax.make_policy(agent, state, run=(4, 0)),
            r"run=\(4, 0\) is no run .* index 4 is out",
        ),
        (
            lambda agent, state: rpo_jax.make_policy(agent, state, run=(0, 2)),
            r"run=\(0, 2\) is no run .* index 2 is out",
        ),
        (lambda agent, state: rpo_jax.make_policy(toys.new_agent(), state, run=(0, 0)), "are not those of the agent's"),
        (
            lambda agent, state: rpo_jax.evaluate(agent, jax.tree.map(lambda x: x[0, 0], state), jax.random.key(0), 0),
            "num_episodes=0 is out of range",
        ),
        (
            lambda agent, state: rpo_jax.train(agent, rpo_jax.grid(rpo_alpha=[0.0, 1.0]), jax.random.key(0)),
            r"take one setting, and these are several: learning_rate \[2\].*sweep and fit",
        ),
        (lambda agent, state: rpo_jax.load_run("nowhere"), "nowhere holds no run"),
        (
            lambda agent, state: rpo_jax.sweep(agent, wrong({"rpo_alpha": [0.1]}), rpo_jax.seeds(0, 2)),
            r"must be of type Hyperparams, such as grid\(.*and not a dict",
        ),
        (lambda agent, state: rpo_jax.make_env(wrong(None)), "the name of an environment is text, .* and not None"),
        (
            lambda agent, state: rpo_jax.export_policy(wrong(agent), "out"),
            "takes the folder of a run, .* and not Agent",
        ),
        (lambda agent, state: rpo_jax.seeds(wrong("0"), 2), "the first seed is '0'; it must be a whole number"),
        (lambda agent, state: rpo_jax.seeds(0, wrong(2.0)), "the number of seeds is 2.0; it must be a whole number"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(trained: Any, call: Any, message: str) -> None:
    spec, result = trained
    with pytest.raises(SettingsError, match=message):
        call(spec.agent(), result.state.policy)


def test_names_and_text_are_taken_where_they_are_plain(trained: Any, tmp_path: Path) -> None:
    agent = rpo_jax.make_agent(trained[0].agent().env, "ppo", head="tanh-normal")
    assert (agent.variant, agent.head) == (rpo_jax.PPO, rpo_jax.get_head("tanh-normal"))
    assert rpo_jax.Checkpoints(str(tmp_path)).due() is False
