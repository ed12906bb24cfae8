"""The environment interface that the algorithm uses: reset and step of a batch of environments.

A simulator in JAX provides `Dynamics`, two pure functions of a single environment without batching or resets, from
which `vectorize` makes an `Environment`. A suite that steps batches on the host goes through `host_environment`.
"""

import contextlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.errors import SettingsError, SimulatorError
from rpo_jax.typing import PyTree

Episodes = tuple[PyTree, jax.Array]  # state of environments [..., N] and their observations [N, O]


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
        for_accelerator: the same environment for a GPU or TPU, with products of full precision and, where that helps,
            as a program of few kernels; None if it is no other.
        options: options by which `make_env` made the simulator, such as Brax's `backend`, for those that draw it.
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
    for_accelerator: "Environment | None" = None
    options: Mapping[str, Any] = MappingProxyType({})

    def __repr__(self) -> str:
        """Returns its name and sizes."""
        return f"Environment({self.name!r}, observation_size={self.observation_size}, action_size={self.action_size})"

    def on(self, platform: str) -> "Environment":
        """Returns the environment as it is stepped on a platform, such as "cpu" or "gpu"."""
        return self if platform == "cpu" else self.for_accelerator or self

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
        """Whether all action bounds are finite, and so are the widths between them."""
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(np.subtract(self.high, self.low)).all())


def where(condition: jax.Array, then: Episodes, otherwise: Episodes) -> Episodes:
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
