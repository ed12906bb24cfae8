"""Every variant learns Pendulum; of the hyperparameters of variants, its own change that, and no others."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest
import toys

from rpo_jax import Hyperparams, fit, get_preset, make_agent, make_env, seeds
from rpo_jax.algorithm.variants import VARIANTS, Variant, foreign_hyperparams
from rpo_jax.settings.presets import override

ENV = "gymnax/Pendulum-v1"
FIRST = 20  # updates of the runs that show which hyperparameters matter
# Ten episodes of each environment in 100 updates, where preset `fast` has five of 1024 environments in 125.
SMALL = {"total_timesteps": 64_000, "num_envs": 32, "num_steps": 20, "num_minibatches": 4, "learning_rate": 8e-3}
SMALL |= {"hidden_sizes": (16, 16)}  # most of the time they learn, and are not compiled
Metrics = dict[str, np.ndarray]


def moved(base: Hyperparams, names: Iterable[str]) -> Hyperparams:
    """The same with these numbers larger by 1."""
    return dataclasses.replace(base, **{name: getattr(base, name) + 1 for name in names})


def train(variant: Variant) -> tuple[Metrics, list[Metrics]]:
    """Metrics of two seeds [1, 2, U]; and [2, FIRST] with all numbers of others moved, then with each of its own."""
    preset = override(get_preset("fast", ENV), SMALL)
    base = dataclasses.replace(preset.hyperparams, rpo_alpha_end=preset.hyperparams.rpo_alpha)  # a number, to be moved
    own = [moved(base, [name]) for name in variant.hyperparams]
    settings = toys.stack_settings(moved(base, foreign_hyperparams(variant)), *own)
    agent = make_agent(make_env(ENV), variant, preset.config)
    with toys.compiled_with(toys.QUICK):
        whole = fit(agent, base, seeds(0, 2))
        first = fit(agent, settings, seeds(0, 2), runs_at_once=2, until=FIRST)
    return whole.metrics, [
        {name: x[setting, :, :FIRST] for name, x in first.metrics.items()} for setting in range(1 + len(own))
    ]


def mean_return(returns: np.ndarray, episode: int) -> float:
    """Of both seeds [S, U]; all 32 environments of a seed end their episodes in the same updates."""
    return float(np.mean([row[~np.isnan(row)][episode] for row in returns]))


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_learns_pendulum(name: str) -> None:
    whole, (foreign, *moves) = train(VARIANTS[name])
    # Means of 64 episodes, whose standard deviation is about 40.
    first, last = (mean_return(whole["episode_return"][0], episode) for episode in (0, -1))
    assert first < -1100  # as at random
    assert last > -700
    for metric, values in whole.items():
        np.testing.assert_array_equal(foreign[metric], values[0, :, :FIRST], err_msg=metric)
    for own, metrics in zip(VARIANTS[name].hyperparams, moves, strict=True):
        change = np.abs(metrics["entropy"] - whole["entropy"][0, :, :FIRST])
        assert (change[:, -1] > 0.002).all(), own  # exactly 0 if it did nothing
