"""The environment interface that the algorithm uses: reset and step of a batch of environments.

A simulator in JAX provides `Dynamics`, two pure functions of a single environment without batching or resets, from
which `vectorize` makes an `Environment`. A suite that steps batches on the host goes through `host_environment`.
"""

import contextlib
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.compiling.jit import jit
from rpo_jax.envs.vmap_last import vmap_last
from rpo_jax.errors import SettingsError, SimulatorError, unknown_name
from rpo_jax.typing import PyTree

Batching = Literal["last", "first"]
BATCHED: dict[Batching, Callable[..., Any]] = {"last": vmap_last, "first": partial(jax.vmap, in_axes=-1, out_axes=-1)}
# What each suite takes, on every platform. Beside it, how many times as fast a step is so as the other way: on a CPU
# with 128 and 1024 environments (benchmarks/batching.py); not measured on a GPU.
BATCHING: dict[str, Batching] = {
    "gymnax": "last",  # CPU: 0.9 to 1.2, and 1.0 to 1.2 with 1024
    "brax": "last",  # CPU: `spring` 2.7 to 3.8, hopper on other backends 1.2 to 1.6
    "playground": "last",  # CPU: CartpoleBalance 2.2
}


class Successor(NamedTuple):
    """The result of one step of a single environment.

    Attributes:
        obs: next observation, before any reset [O].
        reward: reward of the step [].
        terminated: whether the task ended, so that there is no value to bootstrap from [] bool.
        truncated: whether the time limit ended the episode [] bool.
    """

    obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array


class Dynamics(NamedTuple):
    """A single environment as two pure functions, without automatic reset.

    Attributes:
        init: `key -> (state, obs [O])`, a sample of the initial distribution.
        step: `(key, state, action [A]) -> (state, Successor)`, one step.
    """

    init: Callable[[jax.Array], tuple[PyTree, jax.Array]]
    step: Callable[[jax.Array, PyTree, jax.Array], tuple[PyTree, Successor]]


class Timestep(NamedTuple):
    """The result of one step of N environments, in which those whose episode ended have been reset.

    Attributes:
        obs: observation to act on next, the first of a new episode where one ended [N, O].
        reward: reward of the step [N].
        terminated: whether the task ended [N] bool.
        truncated: whether the time limit ended the episode [N] bool.
        final_obs: next observation before any reset [N, O]; NaN where the simulator produced non-finite numbers.
        episode_return: undiscounted return of the episode so far, including this step [N].
        episode_length: number of steps of the episode so far, including this step [N].
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
        """Whether the episode ended, by termination or time limit [N] bool."""
        return self.terminated | self.truncated

    @property
    def broken(self) -> jax.Array:
        """Whether the simulator produced non-finite numbers, which ended the episode [N] bool."""
        return ~jnp.isfinite(self.final_obs).all(-1)


def _raise_no_restart(keys: jax.Array, state: PyTree) -> tuple[PyTree, jax.Array]:
    raise SettingsError("reset_every_round needs an environment on the host that defines `restart`")


class Environment(NamedTuple):
    """A batch of environments as pure functions; wrappers map an Environment to an Environment.

    Every environment has its own random key, so its episodes do not depend on how a batch is split. The environments
    are the first axis of what the algorithm sees, [N, ...], and the last axis of the leaves of the state, [..., N].

    Attributes:
        name: suite and id, such as "gymnax/Pendulum-v1".
        observation_size: length of an observation, O.
        low: lower bounds of the actions [A].
        high: upper bounds of the actions [A].
        reset: `keys [N] -> (state, obs [N, O])`, begins an episode in any number N of environments.
        step: `(keys [N], state, action [N, A], initial) -> (state, Timestep)`, one step. Environments whose episode
            ends continue with `initial`, the result of a `reset` of N environments; None on the host, where the suite
            resets them itself.
        time_limit: steps after which an episode is truncated; None if there is no limit.
        on_host: whether `reset` and `step` call the host, which is fastest with as many environments as possible.
        restart: `(keys [N], state) -> (state, obs [N, O])`, on the host only: closes the environments of the state and
            begins new episodes in their place.
        close: `state -> None`, frees what the suite holds on the host, at the end of a program.
        check: `() -> None`, raises a `SimulatorError` if an environment on the host has failed; to be called after a
            program has run.
    """

    name: str
    observation_size: int
    low: np.ndarray
    high: np.ndarray
    reset: Callable[[jax.Array], tuple[PyTree, jax.Array]]
    step: Callable[[jax.Array, PyTree, jax.Array, PyTree], tuple[PyTree, Timestep]]
    time_limit: int | None = None
    on_host: bool = False
    restart: Callable[[jax.Array, PyTree], tuple[PyTree, jax.Array]] = _raise_no_restart
    close: Callable[[PyTree], None] = lambda state: None
    check: Callable[[], None] = lambda: None

    def forget(self) -> None:
        """Discards a failure that `check` has not raised yet, before a new run."""
        with contextlib.suppress(SimulatorError):
            self.check()

    @property
    def action_size(self) -> int:
        """The number of action dimensions, A."""
        return len(self.low)

    @property
    def has_finite_actions(self) -> bool:
        """Whether all action bounds are finite, so that the range has a midpoint and a width."""
        return bool(np.isfinite([self.low, self.high]).all())


def vectorize(dynamics: Dynamics, *, batching: Batching = "last", **attributes: Any) -> Environment:
    """Makes an Environment of single dynamics: a batch of them, and automatic reset to episodes begun beforehand.

    Args:
        dynamics: one environment.
        batching: on which axis of the arrays within `dynamics` the batch is: "last" is `vmap_last`, "first" `jax.vmap`.
            The state's leaves are [..., N] either way; only speed differs, and rounding.
        **attributes: `name`, `observation_size`, `low`, `high`, `time_limit` of the Environment.

    Returns:
        The environment, of any number of copies of these dynamics.

    Raises:
        SettingsError: if there is no such batching.
    """
    if batching not in BATCHED:
        raise unknown_name("batching", batching, BATCHED)
    # The inner functions are traced once, whatever the number of environments; the outer ones once for each number.
    one = Dynamics(jit(dynamics.init), jit(dynamics.step))
    init, advance = (jit(BATCHED[batching](function)) for function in one)

    def reset(keys: jax.Array) -> tuple[Any, jax.Array]:
        state, obs = _replace_broken_starts(*init(keys))
        return _replace_empty_arrays(state), obs.T

    def step(keys: jax.Array, state: Any, action: jax.Array, initial: tuple[Any, jax.Array]) -> tuple[Any, Timestep]:
        state, successor = advance(keys, restore_empty_arrays(state, len(keys)), action.T)
        obs, reward, terminated, truncated = _cut_where_broken(successor)
        state, next_obs = where(terminated | truncated, initial, (_replace_empty_arrays(state), obs.T))
        return state, Timestep(next_obs, reward, terminated, truncated, final_obs=obs.T)

    return Environment(reset=reset, step=step, **attributes)


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


def where(
    condition: jax.Array, then: tuple[PyTree, jax.Array], otherwise: tuple[PyTree, jax.Array]
) -> tuple[PyTree, jax.Array]:
    """Chooses between two pairs of state and observations, for each environment.

    Args:
        condition: whether to take `then`, for each environment [N] or for all [] bool.
        then: state, leaves [..., N], and observations [N, O].
        otherwise: state and observations of the same shapes.

    Returns:
        The chosen state and observations.
    """
    state = jax.tree.map(lambda x, y: jnp.where(condition, x, y), then[0], otherwise[0])
    return state, jnp.where(condition[..., None], then[1], otherwise[1])


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Empty:
    """Placeholder for an empty array in the state of one environment: its shape [...] and dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype


def _replace_empty_arrays(state: PyTree) -> PyTree:
    """Converts a state [..., N] to the form that programs carry: placeholders for empty arrays, no weak types."""

    def convert(x: jax.typing.ArrayLike) -> jax.Array | _Empty:
        x = jnp.asarray(x)
        if not x.size:
            return _Empty(x.shape[:-1], x.dtype)  # XLA would replicate an empty array, while the others are sharded
        # Suites start counters from Python numbers, whose weak type would change in the carry of a scan.
        return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(convert, state)


def restore_empty_arrays(state: PyTree, num_envs: int) -> PyTree:
    """Restores the empty arrays of a state that programs carry.

    Args:
        state: leaves [..., N], with placeholders for empty arrays.
        num_envs: number of environments, N.

    Returns:
        The state as the simulator gave it.
    """

    def is_empty(x: object) -> bool:
        return isinstance(x, _Empty)

    def restore(x: jax.Array | _Empty) -> jax.Array:
        return jnp.zeros((*x.shape, num_envs), x.dtype) if isinstance(x, _Empty) else x

    return jax.tree.map(restore, state, is_leaf=is_empty)
