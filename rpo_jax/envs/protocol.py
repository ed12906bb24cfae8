"""What the algorithm asks of an environment: reset, refresh and step of a whole batch.

A JAX simulator enters as `Dynamics`, two pure functions of a single environment that know nothing of batches or
resets, and `vectorize` makes an `Environment` of it. A suite that steps a batch on the host can be an `Environment`
itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Successor(NamedTuple):
    """What one step of one environment leads to.

    Attributes:
        obs: the true next observation [O].
        reward: [].
        terminated: [] bool, the task itself ended here: there is no future to bootstrap from.
        truncated: [] bool, a time limit cut the episode here.
    """

    obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Dynamics(NamedTuple):
    """One environment, without reset.

    Attributes:
        init: `key -> (state, obs [O])`, a draw of the initial distribution.
        step: `(key, state, action [A]) -> (state, Successor)`.
    """

    init: Callable[[jax.Array], tuple[Any, jax.Array]]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Successor]]


class Timestep(NamedTuple):
    """What one step of N environments gives, after those that ended were reset.

    Attributes:
        obs: what to act on next: the first observation of a new episode where one ended [N, O].
        reward: [N].
        terminated: [N] bool.
        truncated: [N] bool.
        final_obs: the true successor of the step, before any reset [N, O].
        episode_return: sum of the rewards of the episode so far, this step included [N].
        episode_length: steps of the episode so far, this step included [N].
    """

    obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    final_obs: jax.Array
    episode_return: jax.Array = np.zeros(())  # pyright: ignore[reportAssignmentType]
    episode_length: jax.Array = np.zeros(())  # pyright: ignore[reportAssignmentType]

    @property
    def ended(self) -> jax.Array:
        """[N] bool: the episode ended, one way or the other."""
        return self.terminated | self.truncated


class Environment(NamedTuple):
    """A batch of environments as pure functions; wrappers map an Environment to an Environment.

    Attributes:
        name: suite and id, such as "gymnax/Pendulum-v1".
        observation_size: O.
        low: least action [A].
        high: greatest action [A].
        reset: `(key, N) -> (state, obs [N, O])`.
        refresh: `(key, state) -> state`; draws the initial states that `step` resets to. Called every few steps.
        step: `(key, state, action [N, A]) -> (state, Timestep)`; resets those that end.
        time_limit: steps after which an episode is truncated; None if it may go on for ever.
    """

    name: str
    observation_size: int
    low: np.ndarray
    high: np.ndarray
    reset: Callable[[jax.Array, int], tuple[Any, jax.Array]]
    refresh: Callable[[jax.Array, Any], Any]
    step: Callable[[jax.Array, Any, jax.Array], tuple[Any, Timestep]]
    time_limit: int | None = None

    @property
    def action_size(self) -> int:
        """A."""
        return len(self.low)


STEPS_PER_REFRESH = 32


class BatchState(NamedTuple):
    """State of N environments, and initial states in reserve.

    Attributes:
        current: states [N, ...].
        reserve: initial states and observations [N + 31, ...].
        steps: since the reserve was drawn [].
    """

    current: Any
    reserve: Any
    steps: jax.Array


def vectorize(dynamics: Dynamics, **attributes: Any) -> Environment:
    """Makes an Environment of single dynamics: vmap, and automatic reset from a reserve.

    Initial states: `refresh` draws a reserve of N + 31 by `init` itself, and an episode of environment i that ends t
    steps later goes on from number i + t of them. The rollout refreshes every 32 steps or less, so an environment never
    meets a draw twice, and when an episode ends does not depend on the draw that follows it: each episode starts from
    the suite's own initial distribution, as after a full reset. Neighbours may start from the same draw at different
    times, and so may an environment that is stepped on without a refresh. A step costs (N + 31) / 32N of a full reset,
    about 1/32 where there are many environments. (Brax's own wrapper keeps one initial state per environment for ever.)

    Args:
        dynamics: one environment.
        **attributes: `name`, `observation_size`, `low`, `high`, `time_limit` of the Environment.
    """

    def draw(key: jax.Array, count: int) -> tuple[Any, jax.Array]:
        return jax.tree.map(_strongly_typed, jax.vmap(dynamics.init)(jax.random.split(key, count)))

    def reset(key: jax.Array, num_envs: int) -> tuple[BatchState, jax.Array]:
        reserve = draw(key, num_envs + STEPS_PER_REFRESH - 1)
        state, obs = jax.tree.map(lambda x: x[:num_envs], reserve)
        return BatchState(state, reserve, jnp.zeros((), jnp.int32)), obs

    def refresh(key: jax.Array, state: BatchState) -> BatchState:
        return state._replace(reserve=draw(key, len(state.reserve[1])), steps=jnp.zeros((), jnp.int32))

    def step(key: jax.Array, state: BatchState, action: jax.Array) -> tuple[BatchState, Timestep]:
        # Dynamics that draw nothing leave their keys unused, and XLA drops the split.
        keys = jax.random.split(key, len(action))
        current, (obs, reward, terminated, truncated) = jax.vmap(dynamics.step)(keys, state.current, action)
        current = jax.tree.map(_strongly_typed, current)
        first = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, state.steps, len(action)), state.reserve)
        current, next_obs = where(terminated | truncated, first, (current, obs))
        state = BatchState(current, state.reserve, state.steps + 1)
        return state, Timestep(next_obs, reward, terminated, truncated, final_obs=obs)

    return Environment(reset=reset, refresh=refresh, step=step, **attributes)


def where(condition: jax.Array, then: Any, otherwise: Any) -> Any:
    """`jnp.where` on trees whose leaves start with the condition's axes [N]."""

    def choose(x, y):
        return jnp.where(condition.reshape(condition.shape + (1,) * (y.ndim - condition.ndim)), x, y)

    return jax.tree.map(choose, then, otherwise)


def _strongly_typed(x: Any) -> jax.Array:
    # Suites start counters from Python numbers, whose weak type would not survive a scan's carry.
    x = jnp.asarray(x)
    return jax.lax.convert_element_type(x, x.dtype)
