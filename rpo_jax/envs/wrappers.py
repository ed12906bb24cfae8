"""Environment wrappers: each maps an Environment to an Environment."""

import jax
import jax.numpy as jnp

from rpo_jax.envs.protocol import Environment, Timestep
from rpo_jax.typing import PyTree


def terminate_at_time_limit(env: Environment) -> Environment:
    """Reports truncation as termination, as the paper's published code does, so that no value is bootstrapped there.

    Args:
        env: any environment.

    Returns:
        The environment, never truncated.
    """

    def step(keys: jax.Array, state: PyTree, action: jax.Array, initial: PyTree) -> tuple[PyTree, Timestep]:
        state, timestep = env.step(keys, state, action, initial)
        return state, timestep._replace(terminated=timestep.ended, truncated=jnp.zeros_like(timestep.truncated))

    return env._replace(step=step, for_accelerator=env.for_accelerator and terminate_at_time_limit(env.for_accelerator))


def record_episodes(env: Environment) -> Environment:
    """Fills in `episode_return` and `episode_length` of each timestep.

    Args:
        env: any environment.

    Returns:
        The environment, whose state is `(state of env, return so far [N], length so far [N])`.
    """

    def add_statistics(keys: jax.Array, episodes: tuple[PyTree, jax.Array]) -> tuple[PyTree, jax.Array]:
        state, obs = episodes
        return (state, jnp.zeros(len(keys)), jnp.zeros(len(keys), jnp.int32)), obs

    def reset(keys: jax.Array) -> tuple[PyTree, jax.Array]:
        return add_statistics(keys, env.reset(keys))

    def restart(keys: jax.Array, state: PyTree) -> tuple[PyTree, jax.Array]:
        return add_statistics(keys, env.restart(keys, suite_state(state)))

    def step(keys: jax.Array, state: PyTree, action: jax.Array, initial: PyTree) -> tuple[PyTree, Timestep]:
        inner, total, length = state
        inner_initial = None if initial is None else (suite_state(initial[0]), initial[1])
        inner, timestep = env.step(keys, inner, action, inner_initial)
        total, length = total + timestep.reward, length + 1
        state = (inner, jnp.where(timestep.ended, 0.0, total), jnp.where(timestep.ended, 0, length))
        return state, timestep._replace(episode_return=total, episode_length=length)

    return env._replace(
        reset=reset,
        step=step,
        restart=restart,
        close=lambda state: env.close(suite_state(state)),
        for_accelerator=env.for_accelerator and record_episodes(env.for_accelerator),
    )


def suite_state(state: PyTree) -> PyTree:
    """Returns the suite's own part of a state of environments that `record_episodes` wraps.

    Args:
        state: state of the wrapped environments, leaves [..., N].

    Returns:
        The state of the environments within.
    """
    return state[0]
