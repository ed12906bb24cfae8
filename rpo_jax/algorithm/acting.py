"""Acting with a trained policy, in programs of JAX and outside of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Scalar
from rpo_jax.algorithm.networks import param_shapes
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.compiling.jit import jit
from rpo_jax.errors import SettingsError
from rpo_jax.keys import GENERATOR
from rpo_jax.typing import PyTree


def make_policy(
    agent: Agent,
    state: TrainingState | Policy,
    *,
    run: tuple[int, ...] = (),
    observation_clip: Scalar = 10.0,
) -> Callable[[np.typing.ArrayLike], np.ndarray]:
    """Makes a function that acts, such as in a loop over an environment of Gymnasium.

    Args:
        agent: static part of the run, from `make_agent`.
        state: training state or policy, of one run or, with leaves [H, S, ...], of several.
        run: indices of the run in the leading axes of `state`, such as (0, 3).
        observation_clip: bound of normalised observations, as in training.

    Returns:
        A function of observations in the environment's own units, [O] or [N, O], that returns mean actions within the
        bounds, [A] or [N, A]: arrays of NumPy, or those of JAX under `jax.jit`, `jax.vmap` and the like.

    Raises:
        SettingsError: if `state` with `run` is not that of one run of this agent; the function raises it for an
            observation of another shape.
    """
    one = policy_of(agent, state, run)
    act = jit(make_actor(agent, one, jax.random.key(0, impl=GENERATOR), False, observation_clip))

    def policy(obs: np.typing.ArrayLike) -> np.ndarray:
        to_array: Any = jnp.asarray if any(isinstance(x, Tracer) for x in jax.tree.leaves(obs)) else np.asarray
        try:
            array = to_array(obs, np.float32)
        except (TypeError, ValueError):
            raise SettingsError(
                f"an observation of {agent.env.name} is an array of numbers, and not {obs!r:.60}"
            ) from None
        if array.ndim not in (1, 2) or array.shape[-1] != agent.env.observation_size:
            raise SettingsError(
                f"an observation of {agent.env.name} has shape [{agent.env.observation_size}], and not "
                f"{list(array.shape)}"
            )
        action = act(array.reshape(-1, agent.env.observation_size), 0).reshape(*array.shape[:-1], agent.env.action_size)
        return action if isinstance(action, Tracer) else np.asarray(action)  # pyright: ignore[reportReturnType]

    return policy


def policy_of(agent: Agent, state: TrainingState | Policy, run: tuple[int, ...]) -> Policy:
    """Returns the policy of one of the runs of a state.

    Args:
        agent: static part of the run.
        state: training state or policy, of one run or, with leaves [H, S, ...], of several.
        run: indices of the run in the leading axes of `state`.

    Raises:
        SettingsError: if `state` has no such run, or is not of this agent.
    """

    def take(x: jax.Array) -> jax.Array:
        return jnp.asarray(np.asarray(x)[run])  # NumPy raises for an index out of range, where JAX takes the nearest

    try:
        one = Policy(*jax.tree.map(take, (state.params, state.obs_moments)))
    except IndexError as error:
        raise SettingsError(f"run={run} is no run of the state: {error}") from None
    check_policy(agent, one)
    return one


def check_policy(agent: Agent, state: TrainingState | Policy) -> None:
    """Raises a SettingsError if `state` is not that of one run of `agent`."""
    expected = jax.tree.map(jnp.shape, param_shapes(agent.network, agent.env.observation_size))
    found = jax.tree.map(jnp.shape, state.params)
    if found == expected:
        return
    axes = {a[: len(a) - len(b)] for a, b in zip(*map(_shapes, (found, expected)), strict=False)}
    if len(axes) == 1 and (several := axes.pop()):
        raise SettingsError(
            f"the state holds runs {list(several)}, and one is needed: "
            f"jax.tree.map(lambda x: x[{', '.join('0' * len(several))}], state) takes the first; or use jax.vmap"
        )
    raise SettingsError("the parameters of the state are not those of the agent's network")


def _shapes(tree: PyTree) -> list[tuple[int, ...]]:
    return jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, tuple))


def make_actor(
    agent: Agent, state: TrainingState | Policy, key: jax.Array, sample: bool, observation_clip: Scalar
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Makes a function that chooses actions as a policy does.

    Args:
        agent: from `make_agent`.
        state: the policy.
        key: random key of the samples.
        sample: whether to sample actions instead of taking the mean action.
        observation_clip: bound to which normalised observations are clipped.

    Returns:
        A function `(obs [N, O], step) -> actions for the environment [N, A]`.
    """

    def act(obs: jax.Array, step: jax.Array) -> jax.Array:
        loc, log_scale = agent.distribution(state, obs, observation_clip)
        if not sample:
            return agent.to_env(agent.head.mean(loc, log_scale))
        noise = agent.head.noise(jax.random.fold_in(key, step), loc.shape)
        return agent.to_env(agent.head.sample(loc, log_scale, noise))

    return act
