"""Robust Policy Optimization (Rahman & Xue 2022, arXiv 2212.07536).

RPO is PPO with an action mean that is perturbed by uniform noise during learning.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.advantages import generalized_advantage_estimation
from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, field_names
from rpo_jax.algorithm.divergence import quarantine
from rpo_jax.algorithm.losses import standardize
from rpo_jax.algorithm.metrics import Metrics, as_metrics, as_rows, rollout_metrics
from rpo_jax.algorithm.normalization import discounted_returns, initial_moments, scale_rewards, update_moments
from rpo_jax.algorithm.optimization import flatten, make_optimizer
from rpo_jax.algorithm.rollout import collect_rollout
from rpo_jax.algorithm.types import Batch, Policy, TrainingState, Transition
from rpo_jax.algorithm.update import update_policy
from rpo_jax.compiling.lazy_cond import where_any
from rpo_jax.errors import SettingsError
from rpo_jax.keys import as_keys
from rpo_jax.typing import PyTree


def train(
    agent: Agent, hyperparams: Hyperparams, key: jax.Array, initial: Policy | None = None
) -> tuple[TrainingState, Metrics]:
    """Performs a whole run. The function is pure: it can be jitted, and vmapped over hyperparameters and keys.

    Args:
        agent: static part of the run, from `make_agent`.
        hyperparams: hyperparameters of one run, scalars [].
        key: random key of the run, such as `jax.random.key(seed)`.
        initial: trained policy to start from, including its observation normalisation; a new policy if None.

    Returns:
        The final state, and metrics {name: [U]}, one entry per update. For environments on the host,
        `agent.env.check()` raises the error of a failed one, and `agent.env.close(state.env_state)` frees them.

    Raises:
        SettingsError: if `key` is not a random key, `hyperparams` are several settings or not those of the variant, or
            the initial policy has another network, or other sizes of observations or actions.
    """

    def body(state, _):
        state, metrics = train_iteration(agent, hyperparams, state)
        return state, as_rows(metrics)

    state = init(agent, hyperparams, key, initial)
    state, rows = jax.lax.scan(body, state, length=agent.config.num_updates)
    return state, as_metrics(rows)


def train_iteration(agent: Agent, hyperparams: Hyperparams, state: TrainingState) -> tuple[TrainingState, Metrics]:
    """Performs one update of RPO: collects a rollout, estimates advantages, and improves the perturbed policy.

    Args:
        agent: static part of the run, from `make_agent`.
        hyperparams: hyperparameters of one run, scalars [].
        state: training state of one run.

    Returns:
        The next state, and metrics {name: []}.
    """
    if agent.variant.schedule:
        hyperparams = agent.variant.schedule(hyperparams, state.update / agent.config.num_updates)
    key, key_act, key_learn = jax.random.split(state.key, 3)
    state, rollout = collect_rollout(agent, state, hyperparams, key_act)  # [T, N, ...]
    informed, batch = estimate_advantages(agent, state, rollout, hyperparams)  # [T, N, ...]
    batch, of_rollout = agent.share.finish((batch, rollout_metrics(rollout, batch, agent.share)))
    learned, metrics = update_policy(agent, informed, batch, key_learn, hyperparams)
    state, metrics = quarantine(state, learned, metrics | of_rollout)
    return state.replace(key=key), metrics


def estimate_advantages(
    agent: Agent, state: TrainingState, rollout: Transition, hyperparams: Hyperparams
) -> tuple[TrainingState, Batch]:
    """Computes the batch to learn from.

    Observations are normalised by the moments used in the rollout, rewards by moments that include this rollout.

    Args:
        agent: from `make_agent`.
        state: training state after the rollout.
        rollout: transitions [T, N, ...].
        hyperparams: hyperparameters of one run, scalars [].

    Returns:
        The state with updated running moments, and the batch [T, N, ...].
    """
    obs = agent.normalize(state.obs_moments, rollout.obs, hyperparams.observation_clip)
    state, rewards = _normalized_rewards(agent, state, rollout, hyperparams)
    values = agent.share.map_values(partial(agent.value, state.params), obs)
    advantages, targets = generalized_advantage_estimation(
        rewards,
        values,
        next_values=_successor_values(agent, state, rollout, values, hyperparams),
        terminated=rollout.terminated,
        ended=rollout.ended,
        gamma=hyperparams.gamma,
        gae_lambda=hyperparams.gae_lambda,
    )
    if agent.config.normalize_advantages == "round":
        advantages = standardize(advantages, agent.share, bessel_correction=agent.config.bessel_correction)
    if agent.config.normalize_observations:
        state = state.replace(obs_moments=update_moments(state.obs_moments, rollout.obs, agent.share))
    return state, Batch(obs, rollout.action, rollout.log_prob, advantages, targets, values)


def _successor_values(
    agent: Agent, state: TrainingState, rollout: Transition, values: jax.Array, hyperparams: Hyperparams
) -> jax.Array:
    """Returns V of the true successors [T, N].

    This is the value of the next observation or, if the episode was truncated, that of its final observation.
    """

    def value(params, moments, clip, obs):
        return agent.share.map_values(lambda x: agent.value(params, agent.normalize(moments, x, clip)), obs)

    seen_by = (state.params, state.obs_moments, hyperparams.observation_clip)
    next_values = jnp.concatenate([values[1:], value(*seen_by, state.obs[None])])
    at_the_cut = where_any(value, rollout.truncated, *seen_by, rollout.final_obs)
    return jnp.where(rollout.truncated, at_the_cut, next_values)


def _normalized_rewards(
    agent: Agent, state: TrainingState, rollout: Transition, hyperparams: Hyperparams
) -> tuple[TrainingState, jax.Array]:
    if not agent.config.normalize_rewards:
        return state, rollout.reward
    carry, returns = discounted_returns(state.discounted_return, rollout.reward, rollout.ended, hyperparams.gamma)
    moments = update_moments(state.return_moments, returns, agent.share)
    state = state.replace(discounted_return=carry, return_moments=moments)
    return state, scale_rewards(moments, rollout.reward, hyperparams.reward_clip)


def init(agent: Agent, hyperparams: Hyperparams, key: jax.Array, initial: Policy | None = None) -> TrainingState:
    """Creates the state before the first update.

    Environments in JAX have a blank state, and the first update starts their episodes. Environments on the host have
    already started theirs.

    Args:
        agent: static part of the run, from `make_agent`.
        hyperparams: hyperparameters of one run, scalars [].
        key: random key of the run, such as `jax.random.key(seed)`.
        initial: trained policy to start from, including its observation normalisation; a new policy if None.

    Returns:
        The training state of one run.

    Raises:
        SettingsError: if `key` is not a random key, `hyperparams` are several settings or not those of the variant, or
            the initial policy has another network, or other sizes of observations or actions.
    """
    _check_hyperparams(agent, hyperparams)
    key, key_params = jax.random.split(as_keys(key))

    def episodes() -> tuple[PyTree, jax.Array]:
        return agent.env.reset(agent.keys(jax.random.fold_in(key_params, 0)))

    def blank(x: jax.ShapeDtypeStruct) -> jax.Array:
        return jnp.zeros(x.shape, x.dtype)

    env_state, obs = episodes() if agent.env.on_host else jax.tree.map(blank, jax.eval_shape(episodes))
    policy = Policy(agent.init_params(key_params, obs, hyperparams), initial_moments(obs.shape[1:]))
    if initial is not None:
        _check_alike(initial, policy)
        policy = initial._replace(params=agent.constrain(initial.params, hyperparams))
    return TrainingState(
        params=policy.params,
        opt_state=make_optimizer(hyperparams).init(flatten(policy.params)[0]),
        obs_moments=policy.obs_moments,
        return_moments=initial_moments(),
        discounted_return=jnp.zeros(len(obs)),
        env_state=env_state,
        obs=obs,
        update=jnp.zeros((), jnp.int32),
        fault=jnp.zeros((), jnp.int32),
        key=key,
    )


def _check_hyperparams(agent: Agent, hyperparams: Hyperparams) -> None:
    if type(hyperparams) is not (kind := agent.variant.hyperparams_type):
        takes, got = kind.__name__, type(hyperparams).__name__
        again = "create the variant and the agent with that class"  # as after a cell of a notebook was run again
        raise SettingsError(
            f"variant {agent.variant.name} takes {takes}, and got {'another class ' * (got == takes)}{got}; "
            f"{again if got == takes else f'give rpo_jax.grid({takes}(), ...)'}"
        )
    values = {name: getattr(hyperparams, name) for name in field_names(hyperparams)}
    shapes = {name: np.shape(value) for name, value in values.items() if value is not None}
    if several := [f"{name} {list(shape)}" for name, shape in shapes.items() if shape]:
        raise SettingsError(
            f"train and init take one setting, and these are several: {', '.join(several)}; sweep and fit train all"
        )


def _check_alike(initial: Policy, policy: Policy) -> None:
    found, expected = (
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        for tree in (initial, policy)
    )
    if found != expected:
        name = next(name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name))
        raise SettingsError(
            f"the initial policy does not fit the agent: its {name} has shape {found.get(name)}, and the agent's "
            f"{expected.get(name)}; the network and the sizes of observation and action must be the same"
        )
