"""Every variant learns Pendulum; of the hyperparameters of variants, its own change that, and no others."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest
import toys

from rpo_jax import Hyperparams, get_preset, make_agent, make_env, seeds, sweep
from rpo_jax.algorithm.variants import VARIANTS, Variant, foreign_hyperparams
from rpo_jax.settings.presets import override

ENV = "gymnax/Pendulum-v1"
# Ten episodes of each environment in 100 updates, where preset `fast` has five of 1024 environments in 125.
SMALL = {"total_timesteps": 64_000, "num_envs": 32, "num_steps": 20, "num_minibatches": 4, "learning_rate": 8e-3}


def moved(base: Hyperparams, names: Iterable[str]) -> Hyperparams:
    """The same with these numbers larger by 0.3."""
    return dataclasses.replace(base, **{name: getattr(base, name) + 0.3 for name in names})


def train(variant: Variant) -> dict[str, np.ndarray]:
    """Metrics {name: [H, S, U]} of two seeds: as they are, all numbers of others moved, each of its own moved."""
    preset = override(get_preset("fast", ENV), SMALL)
    base = dataclasses.replace(preset.hyperparams, rpo_alpha_end=preset.hyperparams.rpo_alpha)  # a number, to be moved
    own = [moved(base, [name]) for name in variant.hyperparams]
    settings = toys.stack_settings(base, moved(base, foreign_hyperparams(variant)), *own)
    agent = make_agent(make_env(ENV), variant, preset.config)
    with toys.compiled_with(toys.LEARNING):
        return {name: np.asarray(values) for name, values in sweep(agent, settings, seeds(0, 2))[1].items()}


def mean_return(returns: np.ndarray, episode: int) -> float:
    """Of both seeds [S, U]; all 32 environments of a seed end their episodes in the same updates."""
    return float(np.mean([row[~np.isnan(row)][episode] for row in returns]))


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_learns_pendulum(name: str) -> None:
    metrics = train(VARIANTS[name])
    # Means of 64 episodes, whose standard deviation is about 40.
    first, last = (mean_return(metrics["episode_return"][0], episode) for episode in (0, -1))
    assert first < -1100  # as at random
    assert last > -700
    for metric, values in metrics.items():
        np.testing.assert_array_equal(values[1], values[0], err_msg=metric)
    base, _, *moves = metrics["entropy"][..., -1]
    for own, entropy in zip(VARIANTS[name].hyperparams, moves, strict=True):
        assert (np.abs(entropy - base) > 0.005).all(), own  # exactly 0 if it did nothing
