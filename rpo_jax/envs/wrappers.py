"""Wrappers: each maps an Environment to an Environment."""

from typing import Any

import jax
import jax.numpy as jnp

from rpo_jax.envs.protocol import Environment, Timestep


def terminate_at_time_limit(env: Environment) -> Environment:
    """Treats a time limit as a termination, as the paper's published code does: nothing is bootstrapped there."""

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Timestep]:
        state, timestep = env.step(key, state, action)
        return state, timestep._replace(terminated=timestep.ended, truncated=jnp.zeros_like(timestep.truncated))

    return env._replace(step=step)


def record_episodes(env: Environment) -> Environment:
    """Fills `episode_return` and `episode_length`; the state becomes `(state, return [N], length [N])`."""

    def reset(key: jax.Array, num_envs: int) -> tuple[Any, jax.Array]:
        state, obs = env.reset(key, num_envs)
        return (state, jnp.zeros(num_envs), jnp.zeros(num_envs, jnp.int32)), obs

    def refresh(key: jax.Array, state: Any) -> Any:
        return (env.refresh(key, state[0]), *state[1:])

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Timestep]:
        inner, total, length = state
        inner, timestep = env.step(key, inner, action)
        total, length = total + timestep.reward, length + 1
        state = (inner, jnp.where(timestep.ended, 0.0, total), jnp.where(timestep.ended, 0, length))
        return state, timestep._replace(episode_return=total, episode_length=length)

    return env._replace(reset=reset, refresh=refresh, step=step)
