"""What the algorithm asks of an environment: reset and step of a whole batch.

A JAX simulator enters as `Dynamics`, two pure functions of a single environment that know nothing of batches or
resets, and `vectorize` makes an `Environment` of it. A suite that steps a batch on the host enters by
`host_environment`.
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

Batching = Literal["last", "first"]
BATCHED: dict[Batching, Callable[..., Any]] = {"last": vmap_last, "first": partial(jax.vmap, in_axes=-1, out_axes=-1)}
# What each suite takes, on every platform. Beside it, how many times as fast a step is so as the other way: on a CPU
# with 128 and 1024 environments (benchmarks/batching.py), on an H100 hopper with 4096 and 65536.
BATCHING: dict[str, Batching] = {
    "gymnax": "last",  # CPU: 0.9 to 1.2, and 1.0 to 1.2 with 1024
    "brax": "last",  # CPU: `spring` 2.7 to 3.8, hopper on other backends 1.2 to 1.6; H100: 1.3 and 1.4
    "playground": "last",  # CPU: CartpoleBalance 2.2; not measured on a GPU
}


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
        final_obs: the true successor of the step, before any reset [N, O]; NaN where the simulator broke.
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

    @property
    def broken(self) -> jax.Array:
        """[N] bool: the simulator gave what is not finite, which cut the episode."""
        return ~jnp.isfinite(self.final_obs).all(-1)


def _cannot_restart(keys: jax.Array, state: Any) -> tuple[Any, jax.Array]:
    raise SettingsError("reset_every_round needs an environment on the host that has `restart`")


class Environment(NamedTuple):
    """A batch of environments as pure functions; wrappers map an Environment to an Environment.

    Each environment has a key of its own, so that a part of a batch does as it would in the whole. The environments are
    the first axis of what the algorithm sees, [N, ...], and the last one of the state's leaves, [..., N].

    Attributes:
        name: suite and id, such as "gymnax/Pendulum-v1".
        observation_size: O.
        low: least action [A].
        high: greatest action [A].
        reset: `keys [N] -> (state, obs [N, O])`, new episodes; of any number of environments.
        step: `(keys [N], state, action [N, A], initial) -> (state, Timestep)`; those that end go on from `initial`, new
            episodes [N] that `reset` gave; None on the host, where a suite resets them itself.
        time_limit: steps after which an episode is truncated; None if it may go on for ever.
        on_host: whether `reset` and `step` call the host, and so are best called with as many as possible at once.
        restart: `(keys [N], state) -> (state, obs [N, O])`, on the host: new episodes in place of that state's, which
            it closes.
        close: `state -> None`, at the end of a program: frees what a suite holds on the host.
        check: raises a `SimulatorError` if an environment on the host has failed; for after a program has run.
    """

    name: str
    observation_size: int
    low: np.ndarray
    high: np.ndarray
    reset: Callable[[jax.Array], tuple[Any, jax.Array]]
    step: Callable[[jax.Array, Any, jax.Array, Any], tuple[Any, Timestep]]
    time_limit: int | None = None
    on_host: bool = False
    restart: Callable[[jax.Array, Any], tuple[Any, jax.Array]] = _cannot_restart
    close: Callable[[Any], None] = lambda state: None
    check: Callable[[], None] = lambda: None

    def forget(self) -> None:
        """Forgets a failure of an environment that nobody has asked for, before a new start."""
        with contextlib.suppress(SimulatorError):
            self.check()

    @property
    def action_size(self) -> int:
        """A."""
        return len(self.low)

    @property
    def has_finite_actions(self) -> bool:
        """Whether no bound of an action is infinite, so that there is a middle and a half of the range."""
        return bool(np.isfinite([self.low, self.high]).all())


def vectorize(dynamics: Dynamics, *, batching: Batching = "last", **attributes: Any) -> Environment:
    """Makes an Environment of single dynamics: a batch of them, and automatic reset to episodes begun beforehand.

    Args:
        dynamics: one environment.
        batching: on which axis of the arrays within `dynamics` the batch is: "last" is `vmap_last`, "first" `jax.vmap`.
            The state's leaves are [..., N] either way; only speed differs, and rounding.
        **attributes: `name`, `observation_size`, `low`, `high`, `time_limit` of the Environment.

    Raises:
        SettingsError: if there is no such batching.
    """
    if batching not in BATCHED:
        raise unknown_name("batching", batching, BATCHED)
    # The inner functions are traced once, whatever the number of environments; the outer ones once for each number.
    one = Dynamics(jit(dynamics.init), jit(dynamics.step))
    init, advance = (jit(BATCHED[batching](function)) for function in one)

    def reset(keys: jax.Array) -> tuple[Any, jax.Array]:
        state, obs = _all_sound(*init(keys))
        return _carried(state), obs.T

    def step(keys: jax.Array, state: Any, action: jax.Array, initial: tuple[Any, jax.Array]) -> tuple[Any, Timestep]:
        state, successor = advance(keys, whole(state, len(keys)), action.T)
        obs, reward, terminated, truncated = _cut_where_broken(successor)
        state, next_obs = where(terminated | truncated, initial, (_carried(state), obs.T))
        return state, Timestep(next_obs, reward, terminated, truncated, final_obs=obs.T)

    return Environment(reset=reset, step=step, **attributes)


def _all_sound(state: Any, obs: jax.Array) -> tuple[Any, jax.Array]:
    """Beginnings, leaves [..., N]: in place of one whose observation is not finite, another one of the batch."""
    broken = ~jnp.isfinite(obs).all(0)
    sound = jnp.argmin(broken)
    return jax.tree.map(lambda x: jnp.where(broken, x[..., sound, None], x), (state, obs))


def _cut_where_broken(successor: Successor) -> Successor:
    """Steps [..., N] that give what is not finite cut the episode; they give NaN, and no reward."""
    obs, reward, terminated, truncated = successor
    broken = ~(jnp.isfinite(obs).all(0) & jnp.isfinite(reward))
    return Successor(
        jnp.where(broken, jnp.nan, obs), jnp.where(broken, 0.0, reward), terminated & ~broken, truncated | broken
    )


def where(condition: jax.Array, then: tuple[Any, jax.Array], otherwise: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
    """State and observations [N, O]: for each environment the one or the other, as the condition says, [N] or []."""
    state = jax.tree.map(lambda x, y: jnp.where(condition, x, y), then[0], otherwise[0])
    return state, jnp.where(condition[..., None], then[1], otherwise[1])


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Empty:
    """What is empty in the state of one environment: its shape [...] and dtype."""

    shape: tuple[int, ...]
    dtype: Any


def _carried(state: Any) -> Any:
    """A state [..., N] as programs carry it."""

    def of(x: Any) -> jax.Array | _Empty:
        x = jnp.asarray(x)
        if not x.size:
            return _Empty(x.shape[:-1], x.dtype)  # XLA would have it on every device, and the rest spread
        # Suites start counters from Python numbers, whose weak type would not survive a scan's carry.
        return jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(of, state)


def whole(state: Any, num_envs: int) -> Any:
    """A state that programs carry [..., N], with what is empty in it."""

    def is_empty(x: Any) -> bool:
        return isinstance(x, _Empty)

    def of(x: Any) -> Any:
        return jnp.zeros((*x.shape, num_envs), x.dtype) if is_empty(x) else x

    return jax.tree.map(of, state, is_leaf=is_empty)
