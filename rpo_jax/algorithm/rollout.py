"""The rollout: a scan over T steps of N environments."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.axes import join_axis, split_axis
from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.packing import packed
from rpo_jax.algorithm.resets import scan_windows
from rpo_jax.algorithm.types import TrainingState, Transition
from rpo_jax.envs.protocol import Episodes, Timestep
from rpo_jax.typing import PyTree

# Observations, actions, their log-probabilities, and what the environments returned but for the next observations.
Steps = tuple[jax.Array, jax.Array, jax.Array, Timestep]


def collect_rollout(
    agent: Agent, state: TrainingState, hyperparams: Hyperparams, key: jax.Array
) -> tuple[TrainingState, Transition]:
    """Collects a rollout of T steps, with `a ~ pi(s)`; the policy is unperturbed unless `config.perturb_rollout`.

    All noise is drawn before the scan. Values and advantages are computed after it. Where an episode ends, the
    environment continues from an initial state that was drawn beforehand (`scan_windows`).

    Args:
        agent: static part of the run, from `make_agent`.
        state: training state of one run.
        hyperparams: hyperparameters of one run, scalars [].
        key: random key of the rollout.

    Returns:
        The state with advanced environments, and transitions [T, N, ...].
    """
    env, config = agent.env, agent.config
    key_noise, key_perturbation, key_resets, key_steps = jax.random.split(key, 4)
    begins = (state.update == 0) | config.reset_every_round
    noises = _draw_noises(agent, key_noise, key_perturbation)

    def play(first: jax.Array, start: Episodes, noises: PyTree) -> tuple[Episodes, Steps]:
        """Steps a block of environments, from index `first` on."""

        def own_keys(key: jax.Array, more: int = 0) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(agent.keys(key, more), first, len(start[1]) + more)

        def draw(key: jax.Array, more: int) -> Episodes:
            return env.reset(own_keys(key, more))

        step = partial(_step, agent, state, hyperparams, own_keys)
        inputs = (jax.random.split(key_steps, config.num_steps), *noises)
        if not env.on_host:
            step, unpack = packed(step) if agent.share.few_kernels else (step, lambda steps: steps)
            end, steps = scan_windows(step, start, inputs, draw, key_resets, begins)
            return end, unpack(steps)
        if config.reset_every_round:
            start = env.restart(own_keys(jax.random.split(key_resets, 1)[0]), start[0])
        return jax.lax.scan(partial(step, initial=None), start, inputs)  # the suite resets on its own

    num_blocks = 1 if env.on_host else agent.share.num_blocks(state.env_state)
    (env_state, obs), steps = _in_blocks(play, num_blocks, (state.env_state, state.obs), noises)
    discounted_return = jnp.where(begins, 0.0, state.discounted_return)
    state = state.replace(env_state=env_state, obs=obs, discounted_return=discounted_return)
    return state, _transition(steps)


def _draw_noises(agent: Agent, key: jax.Array, key_perturbation: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """Draws the noise of the actions [T, N, A], and that of the perturbation if it applies to the rollout."""

    def draw(noise: Callable[[jax.Array, tuple[int, ...]], jax.Array], key: jax.Array) -> jax.Array:
        shape = (agent.config.num_steps, agent.env.action_size)  # for one environment
        return jax.vmap(lambda key: noise(key, shape), out_axes=1)(agent.keys(key))

    perturbed = agent.config.perturb_rollout and agent.variant.width
    return draw(agent.head.noise, key), draw(agent.variant.noise, key_perturbation) if perturbed else None


def _step(
    agent: Agent,
    state: TrainingState,
    hyperparams: Hyperparams,
    own_keys: Callable[[jax.Array], jax.Array],
    episodes: Episodes,
    inputs: PyTree,
    initial: Episodes | None,
) -> tuple[Episodes, Steps]:
    """Acts and steps the environments once."""
    env_state, obs = episodes
    key, noise, perturbation = inputs
    loc, log_scale = agent.distribution(state, obs, hyperparams.observation_clip)
    loc = agent.perturb(loc, log_scale, perturbation, hyperparams)
    action = agent.head.sample(loc, log_scale, noise)
    # If the environment is deterministic its keys are unused, and XLA removes the split.
    env_state, timestep = agent.env.step(own_keys(key), env_state, agent.to_env(action), initial)
    log_prob = agent.head.log_prob(loc, log_scale, action, agent.half_range)
    returned = timestep._replace(obs=None)  # it is the next step's
    return (env_state, timestep.obs), (obs, action, log_prob, returned)


def _transition(steps: Steps) -> Transition:
    obs, action, log_prob, timestep = steps
    return Transition(
        obs=obs,
        final_obs=jnp.where(timestep.broken[..., None], obs, timestep.final_obs),
        action=action,
        log_prob=log_prob,
        reward=timestep.reward,
        terminated=timestep.terminated,
        truncated=timestep.truncated,
        broken=timestep.broken,
        episode_return=timestep.episode_return,
        episode_length=timestep.episode_length,
    )


def _in_blocks(
    play: Callable[..., tuple[Episodes, Steps]], num_blocks: int, start: Episodes, noises: PyTree
) -> tuple[Episodes, Steps]:
    """Calls `play(first, (state [..., N], obs [N, O]), noises [T, N, A])` for one block of environments at a time."""
    if num_blocks == 1:
        return play(jnp.zeros((), jnp.int32), start, noises)
    size = len(start[1]) // num_blocks

    def split(tree: PyTree, axis: int) -> PyTree:
        return jax.tree.map(lambda x: split_axis(x, axis, num_blocks), tree)

    def join(tree: PyTree, axis: int) -> PyTree:
        return jax.tree.map(lambda x: join_axis(x, axis), tree)

    blocks = (size * jnp.arange(num_blocks), (split(start[0], -1), split(start[1], 0)), split(noises, 1))
    end, outputs = jax.lax.map(lambda block: play(*block), blocks)
    return (join(end[0], -1), join(end[1], 0)), join(outputs, 1)
