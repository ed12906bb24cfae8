"""Presets: complete sets of settings, each with its source."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.errors import SettingsError, unknown_name
from rpo_jax.settings.aliases import ALIASES, RELATIONS


class Preset(NamedTuple):
    """A complete set of settings.

    Attributes:
        config: static settings.
        hyperparams: numeric hyperparameters.
        head: name of the action head.
        time_limit: treatment of time limits, "bootstrap" or "terminate"; see `make_env`.
    """

    config: TrainConfig
    hyperparams: Hyperparams
    head: str = "normal"
    time_limit: str = "bootstrap"


PAPER = Preset(
    # Rahman & Xue 2022 (arXiv 2212.07536) and its published code, CleanRL's rpo_continuous_action.py, which treats a
    # truncated episode as terminated: `terminated or truncated` stops bootstrapping.
    TrainConfig(
        total_timesteps=8_000_000,
        num_envs=1,
        num_steps=2048,
        num_epochs=10,
        num_minibatches=32,
        shuffle="samples",
        normalize_advantages="minibatch",
        bessel_correction=True,
        clip_value_loss=True,
        learning_rate_schedule="linear",
        normalize_observations=True,
        normalize_rewards=True,
        hidden_sizes=(64, 64),
        activation="tanh",
        weight_init="orthogonal",
    ),
    Hyperparams(
        learning_rate=3e-4,
        gamma=0.99,
        gae_lambda=0.95,
        clip_epsilon=0.2,
        value_coefficient=0.5,
        entropy_coefficient=0.0,
        max_grad_norm=0.5,
        rpo_alpha=0.5,
        adam_epsilon=1e-5,
    ),
    time_limit="terminate",
)

SEED_NOTES = Preset(
    # The notes this project started from: a PyTorch program for Pendulum-v1 that perturbs the action mean both in the
    # rollout and in learning. The input of its value network is not scaled, which is why some of its PPO runs fail.
    TrainConfig(
        total_timesteps=293 * 2048,  # it stops after the first update beyond 600,000 steps
        num_envs=1,
        num_steps=2048,
        num_epochs=10,
        num_minibatches=1,
        normalize_advantages="round",
        bessel_correction=True,
        clip_value_loss=False,
        learning_rate_schedule="constant",
        normalize_observations=False,
        normalize_rewards=False,
        policy_observation_scale=(1.0, 1.0, 8.0),
        perturb_rollout=True,
        reset_every_round=True,
        hidden_sizes=(128, 64),
        activation="relu",
        weight_init="uniform",
    ),
    Hyperparams(
        learning_rate=3e-4,
        value_learning_rate=1e-3,
        gamma=0.99,
        gae_lambda=0.95,
        clip_epsilon=0.2,
        value_coefficient=2.0,  # with the factor 1/2 of our loss, the notes' mean squared error
        entropy_coefficient=0.001,
        max_grad_norm=math.inf,
        rpo_alpha=0.3,
        adam_epsilon=1e-8,
    ),
    head="normal-then-tanh",
    time_limit="terminate",
)

FAST = Preset(
    TrainConfig(
        total_timesteps=1_000_000,
        num_envs=1024,
        num_steps=32,
        num_epochs=4,
        num_minibatches=8,
        shuffle="environments",
    ),
    Hyperparams(),
)

# Changes to `fast` for an environment; its own values take precedence over its suite's.
FAST_BY_ENVIRONMENT: dict[str, dict[str, Any]] = {
    "gymnax/Pendulum-v1": {
        "total_timesteps": 1_024_000,  # 1000 steps of each environment: five episodes
        "num_steps": 8,
        "hidden_sizes": (32, 32),
        "learning_rate": 4e-3,
        "gamma": 0.98,
        "gae_lambda": 0.9,
    },
    "gymnax/MountainCarContinuous-v0": {"total_timesteps": 2_097_152},  # two episodes of each environment
    "brax": {
        "total_timesteps": 5_128_192,  # 5008 steps of each environment: five whole episodes
        "num_steps": 16,
        "num_minibatches": 16,
        "learning_rate": 1e-3,
        "rpo_alpha": 0.1,
    },
    # A simulator on the host needs megabytes of memory and time to start: few environments, and longer rollouts.
    "envpool": {"num_envs": 16, "num_steps": 128},
    "gymnasium": {"num_envs": 16, "num_steps": 128},
    # Its reward is always 1, so the standard deviation of the discounted return depends on the policy, not the task.
    # Without reward normalisation, values reach 100, too far for value changes clipped to 0.2. Eight whole episodes.
    "brax/inverted_pendulum": {
        "total_timesteps": 8_192_000,
        "normalize_rewards": False,
        "clip_value_loss": False,
        "rpo_alpha": 0.01,
    },
}

PRESETS = {"paper": PAPER, "seed-notes": SEED_NOTES, "fast": FAST}


def get_preset(name: str, env: str) -> Preset:
    """Returns the settings of a preset for an environment.

    Args:
        name: name of a preset in `PRESETS`, such as "fast".
        env: name of the environment, such as "gymnax/Pendulum-v1"; `fast` differs between some environments.

    Returns:
        The preset.

    Raises:
        SettingsError: if no preset has that name.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    if name != "fast":
        return PRESETS[name]
    suite = env.partition("/")[0]
    return override(FAST, {**FAST_BY_ENVIRONMENT.get(suite, {}), **FAST_BY_ENVIRONMENT.get(env, {})})


def override(preset: Preset, values: Mapping[str, Any]) -> Preset:
    """Replaces some fields of a preset's static settings or hyperparameters.

    Args:
        preset: the preset.
        values: values by name of the field.

    Returns:
        The preset with these values.

    Raises:
        SettingsError: if a name is unknown, or the settings are incompatible.
    """
    config_names = {field.name for field in dataclasses.fields(TrainConfig)}
    number_names = {field.name for field in dataclasses.fields(preset.hyperparams)}
    for name in values:
        if name not in config_names | number_names:
            if name in RELATIONS:
                raise SettingsError(f"unknown setting {name!r}; give {ALIASES[name]}, which is {RELATIONS[name]}")
            if name in ALIASES:
                raise SettingsError(f"unknown setting {name!r}; it is called {ALIASES[name]} here")
            raise unknown_name("setting", name, config_names | number_names)
    return preset._replace(
        config=dataclasses.replace(preset.config, **{k: v for k, v in values.items() if k in config_names}),
        hyperparams=dataclasses.replace(preset.hyperparams, **{k: v for k, v in values.items() if k in number_names}),
    )
