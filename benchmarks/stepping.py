"""Programs that only step environments."""

from typing import Any

import jax

import rpo_jax


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
