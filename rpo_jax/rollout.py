"""Acting: a scan over T steps of N environments."""

import jax
import jax.numpy as jnp

from rpo_jax.agent import Agent
from rpo_jax.config import Hyperparams
from rpo_jax.envs.protocol import STEPS_PER_REFRESH
from rpo_jax.types import TrainingState, Transition


def collect_rollout(
    agent: Agent, state: TrainingState, hyperparams: Hyperparams, key: jax.Array
) -> tuple[TrainingState, Transition]:
    """Acts for T steps: `a ~ pi(s)`, with the plain policy unless `config.perturb_rollout`.

    All noise is drawn before the scan, and what needs no step of the environment is computed after it. Between two
    refreshes of the initial states lie at most 32 steps: the rollout is cut into equal windows, so a prime T over 32
    refreshes at every step.

    Returns:
        The state with environments moved on, and transitions [T, N, ...].
    """
    config, env, head = agent.config, agent.env, agent.head
    key_noise, key_offsets, key_refresh, key_env = jax.random.split(key, 4)
    shape = (config.num_steps, config.num_envs, env.action_size)
    noise = head.noise(key_noise, shape)
    offsets = agent.rollout_perturbation(key_offsets, shape, hyperparams.rpo_alpha)

    def step(carry, inputs):
        env_state, obs = carry
        noise, offset, key_step = inputs
        loc, log_scale = agent.act(state.params, agent.normalize(state.obs_moments, obs, hyperparams.observation_clip))
        loc = loc + offset
        action = loc + jnp.exp(log_scale) * noise
        env_state, timestep = env.step(key_step, env_state, agent.to_env(action))
        return (env_state, timestep.obs), (obs, action, loc, timestep)

    def window(carry, inputs):
        key_window, steps = inputs
        env_state, obs = carry
        return jax.lax.scan(step, (env.refresh(key_window, env_state), obs), steps)

    windows = _num_windows(config.num_steps)
    steps = jax.tree.map(
        lambda x: x.reshape((windows, -1, *x.shape[1:])), (noise, offsets, jax.random.split(key_env, config.num_steps))
    )
    carry, outputs = jax.lax.scan(window, (state.env_state, state.obs), (jax.random.split(key_refresh, windows), steps))
    obs, action, loc, timestep = jax.tree.map(lambda x: x.reshape((config.num_steps, *x.shape[2:])), outputs)
    _, log_scale = agent.act(state.params, obs[0])
    transition = Transition(
        obs=obs,
        final_obs=timestep.final_obs,
        action=action,
        log_prob=head.log_prob(loc, log_scale, action, agent.half_range),
        reward=timestep.reward,
        terminated=timestep.terminated,
        truncated=timestep.truncated,
        episode_return=timestep.episode_return,
        episode_length=timestep.episode_length,
    )
    return state.replace(env_state=carry[0], obs=carry[1]), transition


def _num_windows(num_steps: int) -> int:
    fewest = -(-num_steps // STEPS_PER_REFRESH)
    return next(windows for windows in range(fewest, num_steps + 1) if num_steps % windows == 0)
