"""The rollout: a scan over T steps of N environments."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.sharing import fewest_equal_parts
from rpo_jax.algorithm.types import TrainingState, Transition
from rpo_jax.envs.protocol import Timestep, where

MAX_WINDOW = 32  # steps


def collect_rollout(
    agent: Agent, state: TrainingState, hyperparams: Hyperparams, key: jax.Array
) -> tuple[TrainingState, Transition]:
    """Collects a rollout of T steps, with `a ~ pi(s)`; the policy is unperturbed unless `config.perturb_rollout`.

    All noise is drawn before the scan. Everything that does not need environment steps is computed after it.

    New episodes: the rollout is divided into equal windows of at most 32 steps, W (if T is a prime above 32, windows
    have one step). For each window, the suite's own reset creates N + W initial states. In the first window of a run
    (with `reset_every_round`, of each update) environment i starts from initial state i. If its episode ends at step
    t of a window, it continues from initial state i + t + 1. An environment therefore never uses an initial state
    twice, and an initial state is independent of when the previous episode ended, as after a full reset. Neighbouring
    environments may start from the same initial state at different times. Resets cost (N + W) / (W N) of a full reset
    per step of a block of N environments. (Brax's own wrapper reuses one initial state per environment.)

    Returns:
        The state with advanced environments, and transitions [T, N, ...].
    """
    head = agent.head
    key_noise, key_perturbation, *keys = jax.random.split(key, 4)
    shape = (agent.config.num_steps, agent.env.action_size)  # for one environment
    noise = jax.vmap(lambda key: head.noise(key, shape), out_axes=1)(agent.keys(key_noise))  # [T, N, A]

    perturbation = None
    if agent.config.perturb_rollout and agent.variant.width:
        perturbation = jax.vmap(lambda key: agent.variant.noise(key, shape), out_axes=1)(agent.keys(key_perturbation))

    play = partial(_play, agent, state, hyperparams, keys)
    start = (state.env_state, state.obs)
    num_blocks = 1 if agent.env.on_host else agent.share.num_blocks(state.env_state)
    end, (obs, action, loc, log_scale, timestep) = _in_blocks(play, num_blocks, start, (noise, perturbation))
    if log_scale is None:
        _, log_scale = agent.act(state.params, obs[0])
    transition = Transition(
        obs=obs,
        final_obs=jnp.where(timestep.broken[..., None], obs, timestep.final_obs),
        action=action,
        log_prob=head.log_prob(loc, log_scale, action, agent.half_range),
        reward=timestep.reward,
        terminated=timestep.terminated,
        truncated=timestep.truncated,
        broken=timestep.broken,
        episode_return=timestep.episode_return,
        episode_length=timestep.episode_length,
    )
    discounted_return = jnp.where(_begins(agent, state), 0.0, state.discounted_return)
    return state.replace(env_state=end[0], obs=end[1], discounted_return=discounted_return), transition


def _begins(agent: Agent, state: TrainingState) -> jax.Array:
    """Returns whether the rollout begins with new episodes [] bool."""
    return (state.update == 0) | agent.config.reset_every_round


def _play(
    agent: Agent, state: TrainingState, hyperparams: Hyperparams, keys: Any, first: jax.Array, start: Any, noises: Any
) -> tuple[Any, tuple[jax.Array, jax.Array, jax.Array, jax.Array | None, Timestep]]:
    """Steps a block of environments, from index `first` on, T times; returns their state and outputs [T, ...]."""
    env, num_steps, num_envs = agent.env, agent.config.num_steps, len(start[1])
    num_windows = 1 if env.on_host else fewest_equal_parts(num_steps, most=MAX_WINDOW)
    window_length = num_steps // num_windows

    def own_keys(key, more=0):
        return jax.lax.dynamic_slice_in_dim(agent.keys(key, more), first, num_envs + more)

    def begin(carry, key_reset, begins):
        episodes = env.reset(own_keys(key_reset, more=window_length))

        def following(number):
            cut = partial(jax.lax.dynamic_slice_in_dim, start_index=number, slice_size=num_envs)
            return jax.tree.map(partial(cut, axis=-1), episodes[0]), cut(episodes[1])

        return where(begins, following(0), carry), following

    def begin_on_host(carry, key_reset, begins):
        if agent.config.reset_every_round:
            carry = env.restart(own_keys(key_reset), carry[0])
        return carry, lambda number: None

    def window(carry, inputs):
        key_reset, begins, *steps = inputs
        start, following = (begin_on_host if env.on_host else begin)(carry, key_reset, begins)

        def step(carry, inputs):
            env_state, obs = carry
            index, key_step, noise, perturbation = inputs
            seen = agent.normalize(state.obs_moments, obs, hyperparams.observation_clip)
            loc, log_scale = agent.act(state.params, seen)
            loc = agent.perturb(loc, log_scale, perturbation, hyperparams)
            action = loc + jnp.exp(log_scale) * noise
            # If the environment is deterministic its keys are unused, and XLA removes the split.
            env_state, timestep = env.step(own_keys(key_step), env_state, agent.to_env(action), following(index))
            # A scale that does not depend on the state is computed once, after the scan.
            own_scale = log_scale if log_scale.ndim > 1 else None
            return (env_state, timestep.obs), (obs, action, loc, own_scale, timestep)

        return jax.lax.scan(step, start, (jnp.arange(1, window_length + 1), *steps))

    key_resets, key_steps = keys
    steps = [
        jax.tree.map(lambda x: x.reshape((num_windows, window_length, *x.shape[1:])), x)
        for x in (jax.random.split(key_steps, num_steps), *noises)
    ]
    begins = jnp.zeros(num_windows, bool).at[0].set(_begins(agent, state))
    end, outputs = jax.lax.scan(window, start, (jax.random.split(key_resets, num_windows), begins, *steps))
    return end, jax.tree.map(lambda x: x.reshape((num_steps, *x.shape[2:])), outputs)


def _in_blocks(play: Callable[..., Any], num_blocks: int, start: tuple[Any, jax.Array], noises: Any) -> Any:
    """Calls `play(first, (state [..., N], obs [N, O]), noises [T, N, A])` for one block of environments at a time."""
    if num_blocks == 1:
        return play(jnp.zeros((), jnp.int32), start, noises)
    num_envs = len(start[1])
    size = num_envs // num_blocks

    def cut(tree, axis):
        def of(x):
            before, after = x.shape[:axis], x.shape[axis:][1:]
            return jnp.moveaxis(x.reshape((*before, num_blocks, size, *after)), len(before), 0)

        return jax.tree.map(of, tree)

    def join(tree, axis):
        def of(x):
            before, after = x.shape[1:][:axis], x.shape[1:][axis:][1:]
            return jnp.moveaxis(x, 0, len(before)).reshape((*before, num_envs, *after))

        return jax.tree.map(of, tree)

    blocks = (size * jnp.arange(num_blocks), (cut(start[0], -1), cut(start[1], 0)), cut(noises, 1))
    end, outputs = jax.lax.map(lambda block: play(*block), blocks)
    return (join(end[0], -1), join(end[1], 0)), join(outputs, 1)
