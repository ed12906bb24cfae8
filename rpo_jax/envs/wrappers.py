"""Wrappers: each maps an Environment to an Environment."""

from typing import Any

import jax
import jax.numpy as jnp

from rpo_jax.envs.protocol import Environment, Timestep


def terminate_at_time_limit(env: Environment) -> Environment:
    """Treats a time limit as a termination, as the paper's published code does: nothing is bootstrapped there."""

    def step(keys: jax.Array, state: Any, action: jax.Array, initial: Any) -> tuple[Any, Timestep]:
        state, timestep = env.step(keys, state, action, initial)
        return state, timestep._replace(terminated=timestep.ended, truncated=jnp.zeros_like(timestep.truncated))

    return env._replace(step=step)


def record_episodes(env: Environment) -> Environment:
    """Fills `episode_return` and `episode_length`; the state becomes `(state, return [N], length [N])`."""

    def begun(keys: jax.Array, episodes: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        state, obs = episodes
        return (state, jnp.zeros(len(keys)), jnp.zeros(len(keys), jnp.int32)), obs

    def reset(keys: jax.Array) -> tuple[Any, jax.Array]:
        return begun(keys, env.reset(keys))

    def restart(keys: jax.Array, state: Any) -> tuple[Any, jax.Array]:
        return begun(keys, env.restart(keys, state[0]))

    def step(keys: jax.Array, state: Any, action: jax.Array, initial: Any) -> tuple[Any, Timestep]:
        inner, total, length = state
        inner_initial = None if initial is None else (initial[0][0], initial[1])
        inner, timestep = env.step(keys, inner, action, inner_initial)
        total, length = total + timestep.reward, length + 1
        state = (inner, jnp.where(timestep.ended, 0.0, total), jnp.where(timestep.ended, 0, length))
        return state, timestep._replace(episode_return=total, episode_length=length)

    return env._replace(reset=reset, step=step, restart=restart, close=lambda state: env.close(state[0]))
