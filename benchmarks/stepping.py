"""Programs that only step environments: as rpo_jax does, and by plain `jax.vmap` of the suite's own functions."""

from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

import rpo_jax
from rpo_jax.envs.suites import brax, gymnax


def stepping(env: rpo_jax.Environment, num_envs: int, num_steps: int, num_blocks: int) -> tuple[Any, ...]:
    """A function that only steps environments, one block after another, and its arguments."""
    size = num_envs // num_blocks
    keys = jax.random.split(jax.random.key(0), (num_blocks, size))
    initial = jax.jit(jax.vmap(env.reset))(keys)
    actions = jax.random.uniform(
        keys[0, 0], (num_blocks, num_steps, size, env.action_size), minval=env.low, maxval=env.high
    )

    def play(initial, keys, actions):
        def step(state, action):
            state, timestep = env.step(keys, state, action, initial)
            return state, timestep.obs.mean() + timestep.reward.mean()  # both have to be computed

        return jax.lax.scan(step, initial[0], actions)

    return (lambda *blocks: jax.lax.map(lambda block: play(*block), blocks)), initial, keys, actions


def stepping_by_vmap(env: rpo_jax.Environment, num_envs: int, num_steps: int) -> tuple[Any, ...]:
    """The same by `jax.vmap` of the suite's own functions, with the environments first."""
    suite, _, name = env.name.partition("/")
    module = {"brax": brax, "gymnax": gymnax}[suite]
    with mock.patch.object(module, "vectorize", lambda dynamics, **attributes: dynamics):
        dynamics: Any = module.make(name)
    keys = jax.random.split(jax.random.key(0), num_envs)
    initial, _ = jax.jit(jax.vmap(dynamics.init))(keys)
    actions = jax.random.uniform(keys[0], (num_steps, num_envs, env.action_size), minval=env.low, maxval=env.high)

    def play(initial, keys, actions):
        def step_or_begin(key, state, action, begun):
            state, successor = dynamics.step(key, state, action)
            ended = successor.terminated | successor.truncated
            return jax.tree.map(lambda x, y: jnp.where(ended, x, y), begun, state), successor

        def step(state, action):
            state, successor = jax.vmap(step_or_begin)(keys, state, action, initial)
            return state, successor.obs.mean() + successor.reward.mean()

        return jax.lax.scan(step, initial, actions)

    return play, initial, keys, actions
