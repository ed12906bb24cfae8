"""The presets against their sources."""

import dataclasses
import math

import pytest

from rpo_jax import Hyperparams, SettingsError, TrainConfig, environment_names, get_preset, make_agent, make_env
from rpo_jax.algorithm.heads import HEADS
from rpo_jax.execution.sweep import check_hyperparams
from rpo_jax.settings.presets import PRESETS, override

ENVS = [name for names in environment_names().values() for name in names]


def test_paper_is_the_papers_table_and_code():
    preset = get_preset("paper", "gymnax/Pendulum-v1")
    assert preset.config == TrainConfig(
        total_timesteps=8_000_000,
        num_envs=1,
        num_steps=2048,
        num_epochs=10,
        num_minibatches=32,
        shuffle="samples",
        normalize_advantages="minibatch",
        bessel_correction=True,  # of torch.std
        clip_value_loss=True,
        learning_rate_schedule="linear",
        normalize_observations=True,
        normalize_rewards=True,
        policy_observation_scale=(),
        value_observation_scale=(),
        perturb_rollout=False,
        reset_every_round=False,
        hidden_sizes=(64, 64),
        activation="tanh",
        weight_init="orthogonal",
    )
    assert preset.hyperparams == Hyperparams(
        learning_rate=3e-4,
        value_learning_rate=None,
        gamma=0.99,
        gae_lambda=0.95,
        clip_epsilon=0.2,
        value_coefficient=0.5,
        entropy_coefficient=0.0,
        max_grad_norm=0.5,
        rpo_alpha=0.5,
        target_kl=math.inf,
        adam_epsilon=1e-5,
        observation_clip=10.0,
        reward_clip=10.0,
    )
    assert (preset.head, preset.time_limit) == ("normal", "terminate")


def test_seed_notes_are_the_notes():
    preset = get_preset("seed-notes", "gymnax/Pendulum-v1")
    config, numbers = preset.config, preset.hyperparams
    assert (config.num_envs, config.num_steps, config.num_epochs, config.num_minibatches) == (1, 2048, 10, 1)
    assert config.learning_rate_schedule == "constant"
    assert (config.hidden_sizes, config.activation, config.weight_init) == ((128, 64), "relu", "uniform")
    assert (config.policy_observation_scale, config.value_observation_scale) == ((1, 1, 8), ())
    assert not config.normalize_observations
    assert not config.normalize_rewards
    assert not config.clip_value_loss
    assert config.normalize_advantages == "round"
    assert config.bessel_correction  # of torch.std
    assert config.perturb_rollout
    assert config.reset_every_round
    assert numbers == Hyperparams(
        learning_rate=3e-4,
        value_learning_rate=1e-3,
        gamma=0.99,
        gae_lambda=0.95,
        clip_epsilon=0.2,
        value_coefficient=2.0,
        entropy_coefficient=0.001,
        max_grad_norm=math.inf,
        rpo_alpha=0.3,
        target_kl=math.inf,
        adam_epsilon=1e-8,
    )
    assert (preset.head, preset.time_limit) == ("normal-then-tanh", "terminate")
    assert not HEADS[preset.head].squashed


def test_seed_notes_stop_at_the_round_that_passes_600_000_steps():
    config = get_preset("seed-notes", "gymnax/Pendulum-v1").config
    done = config.num_updates * config.round_timesteps
    assert done >= 600_000 > done - config.round_timesteps


@pytest.mark.parametrize("name", ["paper", "seed-notes"])
def test_published_presets_are_the_same_for_every_environment(name):
    assert {get_preset(name, env) for env in ENVS} == {get_preset(name, ENVS[0])}


@pytest.mark.parametrize("env", ENVS)
def test_fast_is_valid_for_every_environment(env):
    preset = get_preset("fast", env)
    check_hyperparams(preset.hyperparams)
    assert dataclasses.replace(preset.config) == preset.config
    assert preset.config.num_updates >= 1
    assert preset.time_limit in ("bootstrap", "terminate")
    agent = make_agent(make_env(env, time_limit=preset.time_limit), config=preset.config, head=HEADS[preset.head])
    assert agent.env.name == env


def test_an_unknown_preset_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match=r"'papr'.*paper"):
        get_preset("papr", "gymnax/Pendulum-v1")
    with pytest.raises(SettingsError, match="fast, paper, seed-notes"):
        get_preset("xyzzy", "gymnax/Pendulum-v1")


def test_an_override_replaces_just_what_it_names():
    paper = PRESETS["paper"]
    changed = override(paper, {"num_steps": 1024, "rpo_alpha": 0.1, "hidden_sizes": (8,)})
    assert changed.config == dataclasses.replace(paper.config, num_steps=1024, hidden_sizes=(8,))
    assert changed.hyperparams == dataclasses.replace(paper.hyperparams, rpo_alpha=0.1)
    assert changed[2:] == paper[2:]
    assert override(paper, {}) == paper


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rpo_alfa": 0.1}, ["rpo_alfa", "rpo_alpha"]),
        ({"num_env": 4}, ["num_env'", "num_envs"]),
        ({"gamma": 1.5}, ["gamma=1.5"]),
        ({"num_minibatches": 30}, ["30", "2048", "16 and 32"]),
        ({"total_timesteps": 2047}, ["2047", "2048"]),
    ],
)
def test_an_override_that_cannot_be_is_refused(values, words):
    with pytest.raises(SettingsError) as caught:
        override(PRESETS["paper"], values)
    assert [word for word in words if word not in str(caught.value)] == []
