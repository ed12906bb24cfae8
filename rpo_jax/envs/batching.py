"""`vectorize`: an environment of many copies of single dynamics, with automatic reset."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.compiling.jit import jit
from rpo_jax.envs.bounds import action_bounds, check_sizes
from rpo_jax.envs.carried import carry_less
from rpo_jax.envs.components import vmap_components
from rpo_jax.envs.protocol import Dynamics, Environment, Episodes, Successor, Timestep, where
from rpo_jax.envs.tracing import in_full_precision, traced
from rpo_jax.envs.validation import validated
from rpo_jax.envs.vmap_last import vmap_last
from rpo_jax.errors import unknown_name
from rpo_jax.keys import as_keys
from rpo_jax.typing import PyTree

Batching = Literal["last", "first", "components"]
Reset = Callable[[jax.Array], Episodes]
Step = Callable[[jax.Array, PyTree, jax.Array, Episodes], tuple[PyTree, Timestep]]
BATCHED: dict[Batching, Callable[..., Any]] = {
    "last": vmap_last,
    "first": partial(jax.vmap, in_axes=-1, out_axes=-1),
    "components": vmap_components,
}


def vectorize(
    dynamics: Dynamics,
    *,
    name: str,
    observation_size: int,
    low: np.ndarray,
    high: np.ndarray,
    time_limit: int | None = None,
    batching: Batching | None = None,
) -> Environment:
    """Makes an Environment of single dynamics: a batch of them, and automatic reset to episodes begun beforehand.

    Args:
        dynamics: one environment. Observations and rewards of any real type become float32, and flags bool; axes of
            length 1 may be missing or too many.
        name: suite and id, such as "mine/slide".
        observation_size: length of an observation, O.
        low: lower bounds of the actions [A].
        high: upper bounds of the actions [A].
        time_limit: steps after which `dynamics` truncates an episode; None if there is no limit. It is told to those
            who plan with it, and truncates nothing itself.
        batching: on which axis of the arrays within `dynamics` the batch is: "last" is `vmap_last`, "first" `jax.vmap`;
            "components" is `vmap_components`, whose programs are few kernels of a GPU, and slow to compile. "last" on a
            CPU and "components" on other devices if None. The state's leaves are [..., N] in any case; only speed
            differs, and rounding.

    Returns:
        The environment, of any number of copies of these dynamics.

    Raises:
        SettingsError: if there is no such batching, a bound, the observation size or the time limit cannot be used, or
            `init` returns something else than a state and an observation of that size. What `step` returns is checked
            when it is first traced, in training.
    """
    check_sizes(observation_size, time_limit, name)
    dynamics = validated(dynamics, name, observation_size)
    return batch_dynamics(
        dynamics._replace(init=traced(dynamics.init)),
        name=name,
        observation_size=observation_size,
        low=low,
        high=high,
        time_limit=time_limit,
        batching=batching,
    )


def batch_dynamics(
    dynamics: Dynamics,
    *,
    name: str,
    observation_size: int,
    low: np.ndarray,
    high: np.ndarray,
    time_limit: int | None = None,
    batching: Batching | None = None,
    shown: Callable[[PyTree], PyTree] | None = None,
) -> Environment:
    """Does what `vectorize` does, for the dynamics of a suite, whose results are known to be right.

    Args:
        dynamics: one environment, of float32 observations and rewards, and flags of bool.
        name: suite and id.
        observation_size: length of an observation, O.
        low: lower bounds of the actions [A].
        high: upper bounds of the actions [A].
        time_limit: as of `vectorize`.
        batching: as of `vectorize`.
        shown: returns what pictures show of a state. Programs carry that from step to step, and what steps read; they
            carry the whole state if None.

    Returns:
        The environment.

    Raises:
        SettingsError: if there is no such batching, or a bound, the observation size or the time limit cannot be used.
    """
    if batching is not None and batching not in BATCHED:
        raise unknown_name("batching", batching, BATCHED)
    check_sizes(observation_size, time_limit, name)
    low, high = action_bounds(low, high, name)
    functions = partial(_functions, action_size=len(low), shown=shown)
    reset, step = functions(dynamics, batching or "last", batching or "last")
    env = Environment(
        name=name,
        observation_size=observation_size,
        low=low,
        high=high,
        reset=reset,
        step=step,
        time_limit=time_limit,
    )
    precise = Dynamics(*map(in_full_precision, dynamics))
    reset, step = functions(precise, batching or "last", batching or "components")
    return env._replace(for_accelerator=env._replace(reset=reset, step=step))


def _functions(
    dynamics: Dynamics,
    of_reset: Batching,
    of_step: Batching,
    action_size: int,
    shown: Callable[[PyTree], PyTree] | None,
) -> tuple[Reset, Step]:
    """`reset` and `step` of an Environment of these dynamics."""
    # The inner functions are traced once, whatever the number of environments; the outer ones once for each number.
    dynamics = carry_less(Dynamics(jit(dynamics.init), jit(dynamics.step)), action_size, shown)
    init, advance = jit(BATCHED[of_reset](dynamics.init)), jit(BATCHED[of_step](dynamics.step))

    def reset(keys: jax.Array) -> Episodes:
        state, obs = _replace_broken_starts(*init(as_keys(keys, 1, "keys")))
        return state, obs.T

    def step(keys: jax.Array, state: PyTree, action: jax.Array, initial: Episodes) -> tuple[PyTree, Timestep]:
        state, successor = advance(as_keys(keys, 1, "keys"), state, action.T)
        obs, reward, terminated, truncated = _cut_where_broken(successor)
        state, next_obs = where(terminated | truncated, initial, (state, obs.T))
        return state, Timestep(next_obs, reward, terminated, truncated, final_obs=obs.T)

    return reset, step


def _replace_broken_starts(state: PyTree, obs: jax.Array) -> tuple[PyTree, jax.Array]:
    """Replaces initial states [..., N] whose observation is not finite by a sound one of the batch."""
    broken = ~jnp.isfinite(obs).all(0)
    sound = jnp.argmin(broken)
    return jax.tree.map(lambda x: jnp.where(broken, x[..., sound, None], x), (state, obs))


def _cut_where_broken(successor: Successor) -> Successor:
    """Ends episodes whose step [..., N] is not finite: truncated, with NaN as observation and reward 0."""
    obs, reward, terminated, truncated = successor
    broken = ~(jnp.isfinite(obs).all(0) & jnp.isfinite(reward))
    return Successor(
        jnp.where(broken, jnp.nan, obs), jnp.where(broken, 0.0, reward), terminated & ~broken, truncated | broken
    )
