"""Evaluation: plays episodes with a trained policy, without updating its observation normalisation."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.acting import check_policy, make_actor
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Scalar
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.compiling.jit import jit
from rpo_jax.envs.wrappers import suite_state
from rpo_jax.errors import SettingsError
from rpo_jax.keys import as_keys
from rpo_jax.typing import PyTree

MAX_EPISODE_STEPS = 10_000


class Trajectory(NamedTuple):
    """Recorded steps of one environment.

    Attributes:
        obs: observations on which the policy acted [T, O].
        env_action: actions within the bounds [T, A].
        reward: rewards [T].
        final_obs: true successors of the observations, before any reset [T, O].
        ended: whether the episode ended with the step [T] bool.
        env_state: the suite's environment state at the time of the observation, leaves [T, ..., 1]; of Brax and
            Playground what steps read and pictures show.
    """

    obs: jax.Array
    env_action: jax.Array
    reward: jax.Array
    final_obs: jax.Array
    ended: jax.Array
    env_state: PyTree


def _is_deterministic(agent: Agent, *_: Any, **__: Any) -> bool:
    return agent.config.deterministic


@partial(jit, deterministic=_is_deterministic, static_argnames=("agent", "num_episodes", "sample"))
def evaluate(
    agent: Agent,
    state: TrainingState | Policy,
    key: jax.Array,
    num_episodes: int = 128,
    *,
    sample: bool = False,
    observation_clip: Scalar = 10.0,
) -> jax.Array:
    """Plays episodes in parallel, and computes their returns.

    Args:
        agent: static part of the run, from `make_agent`.
        state: training state or policy of one run; vmap over it for several.
        key: random key of the episodes; use another than in training.
        num_episodes: number of episodes.
        sample: whether to sample actions from the policy instead of taking its mean action.
        observation_clip: bound of normalised observations, as in training.

    Returns:
        Undiscounted returns [num_episodes]. Episodes end where the environment ends them, or after 10,000 steps, or its
        time limit if that is longer. A return is NaN if the simulator returned a non-finite number, which ends the
        episode, or if an environment on the host failed; `agent.env.check()` then raises its error.

    Raises:
        SettingsError: if `key` is not a random key, `state` is not that of one run of this agent, or there are no
            episodes.
    """
    check_policy(agent, state)
    if num_episodes < 1:
        raise SettingsError(f"num_episodes={num_episodes} is out of range: it must be 1 or more")
    key_reset, key_noise, key_env = jax.random.split(as_keys(key), 3)
    limit = max(agent.env.time_limit or 0, MAX_EPISODE_STEPS)
    act = make_actor(agent, state, key_noise, sample, observation_clip)

    def goes_on(carry):
        step, _, _, _, playing = carry
        return _any(playing) & (step < limit)

    def play(carry):
        step, env_state, obs, returns, playing = carry
        keys = jax.random.split(jax.random.fold_in(key_env, step), num_episodes)
        env_state, timestep = agent.env.step(keys, env_state, act(obs, step), initial)
        returns = jnp.where(playing, jnp.where(timestep.broken, jnp.nan, timestep.episode_return), returns)
        return step + 1, env_state, timestep.obs, returns, playing & ~timestep.ended

    keys = jax.random.split(key_reset, num_episodes)
    initial = env_state, obs = agent.env.reset(keys)  # episodes after the first are ignored
    start = (jnp.zeros((), jnp.int32), env_state, obs, jnp.zeros(num_episodes), jnp.ones(num_episodes, bool))
    _, env_state, _, returns, _ = jax.lax.while_loop(goes_on, play, start)
    agent.env.close(env_state)
    return returns


def evaluate_all(
    agent: Agent,
    policies: Policy,
    key: jax.Array,
    num_episodes: int = 128,
    *,
    sample: bool = False,
    observation_clip: Scalar,
) -> np.ndarray:
    """Evaluates the policies of all runs of a sweep on the same episodes; see `evaluate`.

    Args:
        agent: static part of the runs, from `make_agent`.
        policies: policies, leaves [H, S, ...].
        key: random key of the episodes.
        num_episodes: number of episodes of each policy.
        sample: whether to sample actions from the policy instead of taking its mean action.
        observation_clip: bound of normalised observations for each setting [H].

    Returns:
        Undiscounted returns [H, S, num_episodes].

    Raises:
        SettingsError: if `key` is not a random key.
        SimulatorError: if an environment on the host fails.
    """
    clips = jnp.asarray(observation_clip)
    if not agent.env.on_host:
        return np.asarray(_evaluate_all(agent, policies, key, num_episodes, sample, clips))
    # One policy after another: simulators for all of them at once would be too many.
    returns = np.empty((*jax.tree.leaves(policies)[0].shape[:2], num_episodes), np.float32)
    for run in np.ndindex(returns.shape[:2]):
        policy = jax.tree.map(lambda x, run=run: x[run], policies)
        returns[run] = evaluate(agent, policy, key, num_episodes, sample=sample, observation_clip=clips[run[0]])
        agent.env.check()
    return returns


@partial(jit, deterministic=_is_deterministic, static_argnums=(0, 3, 4))
def _evaluate_all(
    agent: Agent, policies: Policy, key: jax.Array, num_episodes: int, sample: bool, clips: jax.Array
) -> jax.Array:
    def play(policy, clip):
        return evaluate(agent, policy, key, num_episodes, sample=sample, observation_clip=clip)

    return jax.vmap(jax.vmap(play, in_axes=(0, None)))(policies, clips)


@jax.custom_batching.custom_vmap
def _any(playing: jax.Array) -> jax.Array:
    """Returns whether any episode is still running; under vmap, over the whole batch, so that one loop serves it."""
    return playing.any()


@_any.def_vmap
def _any_of_all(size: int, is_batched: list[bool], playing: jax.Array) -> tuple[jax.Array, bool]:
    return _any(playing), False


@partial(jit, deterministic=_is_deterministic, static_argnames=("agent", "num_steps", "sample"))
def record(
    agent: Agent,
    state: TrainingState | Policy,
    key: jax.Array,
    num_steps: int,
    *,
    sample: bool = False,
    observation_clip: Scalar = 10.0,
) -> Trajectory:
    """Plays `num_steps` steps of one environment, and records them.

    Args:
        agent: static part of the run, from `make_agent`.
        state: training state or policy of one run.
        key: random key of the episodes; use another than in training.
        num_steps: number of steps, T; a new episode begins whenever one ends.
        sample: whether to sample actions from the policy instead of taking its mean action.
        observation_clip: bound of normalised observations, as in training.

    Returns:
        The recorded steps, leaves [T, ...].

    Raises:
        SettingsError: if `key` is not a random key.
    """
    key_reset, key_noise, key_env, key_following = jax.random.split(as_keys(key), 4)
    act = make_actor(agent, state, key_noise, sample, observation_clip)

    def play(carry, step):
        env_state, obs = carry
        initial = None if agent.env.on_host else agent.env.reset(jax.random.fold_in(key_following, step)[None])
        action = act(obs, step)
        following, timestep = agent.env.step(jax.random.fold_in(key_env, step)[None], env_state, action, initial)
        rest = timestep.reward[0], timestep.final_obs[0], timestep.ended[0], suite_state(env_state)
        return (following, timestep.obs), Trajectory(obs[0], action[0], *rest)

    (env_state, _), trajectory = jax.lax.scan(play, agent.env.reset(key_reset[None]), jnp.arange(num_steps))
    agent.env.close(env_state)
    return trajectory
