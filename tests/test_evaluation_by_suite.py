"""What evaluation finds beside what training reports of the same policy, for each suite.

Steps that are compiled as users compile are compared by `rpo-jax check`. A learning rate of 0 keeps the policy as it
was, so both are means of the same distribution.
"""

import jax
import numpy as np
import pytest
import toys
from scipy import stats

from rpo_jax import PPO, Hyperparams, TrainConfig, evaluate, grid, make_agent, make_env, seeds, sweep

# Steps that hold whole episodes of nearly all environments, so that none is missing for its length.
STEPS = {
    "gymnax/Pendulum-v1": 200,
    "brax/inverted_pendulum": 200,
    "envpool/InvertedPendulum-v4": 200,
    "gymnasium/InvertedPendulum-v5": 200,
    "playground/CartpoleBalance": 1000,
}


@pytest.mark.parametrize("name", STEPS)
def test_evaluation_finds_the_return_of_training(name: str) -> None:
    num_envs = 16 if name.startswith("playground") else 64
    config = TrainConfig(
        num_envs=num_envs,
        num_steps=STEPS[name],
        total_timesteps=num_envs * STEPS[name],
        num_epochs=1,
        num_minibatches=1,
        normalize_observations=False,
        hidden_sizes=(8,),
    )
    agent = make_agent(make_env(name), PPO, config)
    settings = grid(Hyperparams(), learning_rate=[0.0])
    with toys.compiled_with(toys.QUICK):
        states, metrics = sweep(agent, settings, seeds(0, 1))
        policy = jax.tree.map(lambda x: x[0, 0], states.policy)
        played = np.asarray(evaluate(agent, policy, jax.random.key(1), num_episodes=num_envs, sample=True))
    reported, episodes = (float(metrics[metric][0, 0, 0]) for metric in ("episode_return", "episodes"))
    assert np.isfinite(played).all()
    assert episodes >= num_envs
    allowed = stats.norm.isf(1e-4) * played.std() * np.sqrt(1 / len(played) + 1 / episodes) + 1e-3 * abs(reported)
    assert allowed < 0.5 * abs(reported)  # or this shows nothing
    assert abs(played.mean() - reported) < allowed
