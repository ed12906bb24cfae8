"""Environments that are stepped on the host, by callbacks from the compiled rollout.

Such a suite provides a `Pool`, which steps all environments of a device at once, with NumPy arrays. JAX carries only a
`Ticket`, the number of the pool of each environment. A pool exists in this process only: its state can be neither saved
nor copied. So a run cannot be resumed bit for bit, and a state cannot be stepped once its pool is closed.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rpo_jax.envs.bounds import action_bounds, check_sizes
from rpo_jax.envs.callbacks import make_callback
from rpo_jax.envs.pool import Outcome, Pool
from rpo_jax.envs.protocol import Environment, Timestep
from rpo_jax.errors import SimulatorError, described
from rpo_jax.keys import as_keys
from rpo_jax.typing import PyTree

LOG = logging.getLogger("rpo_jax")
NEW = np.int32(-1)  # in place of the number of a pool that is to be replaced

Result = TypeVar("Result")


class Ticket(NamedTuple):
    """The state of environments on the host, as JAX carries it.

    Attributes:
        pool: number of the pool of each environment [N] int32.
        seed: seed of each environment [N] int32.
    """

    pool: jax.Array
    seed: jax.Array


class Host:
    """The open pools by number, and the functions that compiled programs call.

    A pool that has failed is not stepped any more: each call returns NaN at once, so that no device waits for another,
    and `check()` re-raises the error.
    """

    def __init__(self, open_pool: Callable[[Sequence[int]], Pool], observation_size: int):
        """Creates a host without pools.

        Args:
            open_pool: `seeds -> Pool`, makes one environment for each seed.
            observation_size: length of an observation, O.
        """
        self._open_pool = open_pool
        self._observation_size = observation_size
        self._numbers = itertools.count()
        self._pools: dict[int, Pool] = {}
        self._sizes: dict[int, int] = {}
        self._failed: set[int] = set()
        self._failure: SimulatorError | KeyboardInterrupt | None = None

    def reset(self, replaced: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Opens a pool.

        Args:
            replaced: number of the pool that is closed and whose number is reused [n] int32; `NEW` for none.
            seed: seed of each environment [n] int32.

        Returns:
            Number of the pool, once for each environment [n], and first observations [n, O].
        """
        number = next(self._numbers) if replaced[0] == NEW else int(replaced[0])

        def begin() -> tuple[np.ndarray, ...]:
            if replaced[0] != NEW:
                self._pool(replaced)
                self.close(replaced)
            self._sizes[number] = len(seed)
            self._pools[number] = self._open_pool(seed.tolist())
            return self._check_arrays(("obs",), (self._pools[number].reset(),), len(seed))

        (obs,) = self._call_unless_failed(number, begin) or (
            np.full((len(seed), self._observation_size), np.nan, np.float32),
        )
        return np.full(len(seed), number, np.int32), obs

    def step(self, number: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, ...]:
        """Steps all environments of a pool.

        Args:
            number: number of the pool [n] int32.
            action: actions within the bounds [n, A].

        Returns:
            Number of the pool [n], followed by the fields of an `Outcome`.
        """

        def step() -> tuple[np.ndarray, ...]:
            outcome = self._pool(number).step(action)
            return self._check_arrays(Outcome._fields, outcome, len(number))

        return number, *(self._call_unless_failed(int(number[0]), step) or self._failed_outcome(len(number)))

    def close(self, number: np.ndarray) -> tuple[np.ndarray]:
        """Closes pools; those that are closed already are ignored.

        Args:
            number: number of the pool of each environment [n] int32.

        Returns:
            The numbers [n], so that a program can depend on the call.
        """
        for closed in np.unique(number).tolist():
            self._sizes.pop(closed, None)
            pool = self._pools.pop(closed, None)
            if pool is not None:
                try:
                    pool.close()
                except Exception as error:
                    LOG.warning(f"environments could not be closed: {described(error)}")
        return (number,)

    def check(self) -> None:
        """Re-raises the first error since the last call, if there was one.

        Raises:
            SimulatorError: if an environment has failed.
            KeyboardInterrupt: if one arrived while environments were stepped.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _pool(self, numbers: np.ndarray) -> Pool:
        first = int(numbers[0])
        if first not in self._pools or (numbers != first).any() or len(numbers) != self._sizes[first]:
            raise SimulatorError(
                "these environments are not those of one open pool: environments on the host exist only until the call "
                "that began them ends, and cannot be copied or rearranged"
            )
        return self._pools[first]

    def _failed_outcome(self, n: int) -> Outcome:
        obs, none = np.full((n, self._observation_size), np.nan, np.float32), np.zeros(n, bool)
        return Outcome(obs, np.full(n, np.nan, np.float32), none, none, obs)

    def _check_arrays(self, names: Sequence[str], arrays: Sequence[np.ndarray], n: int) -> tuple[np.ndarray, ...]:
        """Checks the shapes of what a pool returned, and converts it to the types that XLA expects."""
        checked = []
        for name, array in zip(names, arrays, strict=True):
            shape = (n, self._observation_size) if name.endswith("obs") else (n,)
            if np.shape(array) != shape:
                raise SimulatorError(f"a pool returned {name} of shape {np.shape(array)}, and must return {shape}")
            checked.append(np.asarray(array, _KINDS[name]))
        return tuple(checked)

    def _call_unless_failed(self, number: int, function: Callable[[], Result]) -> Result | None:
        """Calls the function; None if it fails, or the pool has failed before."""
        if number in self._failed:
            return None
        try:
            return function()
        except KeyboardInterrupt as interrupt:  # XLA may call from the main thread, and would raise its own error
            failure = interrupt
        except BaseException as error:
            failure = error if isinstance(error, SimulatorError) else SimulatorError(described(error))
            failure.pool = number
            LOG.warning(f"an environment failed: {failure}")
        self._failed.add(number)
        self._failure = self._failure or failure
        return None


_KINDS = dict(zip(Outcome._fields, (np.float32, np.float32, np.bool_, np.bool_, np.float32), strict=True))


def host_environment(
    open_pool: Callable[[Sequence[int]], Pool],
    *,
    name: str,
    observation_size: int,
    low: np.ndarray,
    high: np.ndarray,
    time_limit: int | None = None,
) -> Environment:
    """Makes an Environment that is stepped on the host.

    Args:
        open_pool: `seeds -> Pool`, makes one environment for each seed, a non-negative int32.
        name: suite and id, such as "envpool/HopperHop-v1".
        observation_size: length of an observation, O.
        low: lower bounds of the actions [A].
        high: upper bounds of the actions [A].
        time_limit: steps after which an episode is truncated; None if there is no limit.

    Returns:
        The environment.

    Raises:
        SettingsError: if a bound, the observation size or the time limit cannot be used.
    """
    low, high = action_bounds(low, high, name)
    check_sizes(observation_size, time_limit, name)
    host = Host(open_pool, observation_size)
    call_reset = make_callback(host.reset, (((), np.int32), ((observation_size,), np.float32)))
    outcome = ((((observation_size,) if name.endswith("obs") else ()), kind) for name, kind in _KINDS.items())
    call_step = make_callback(host.step, (((), np.int32), *outcome))
    call_close = make_callback(host.close, (((), np.int32),))

    def begin(keys: jax.Array, replaced: jax.Array) -> tuple[Ticket, jax.Array]:
        seed = jax.vmap(lambda key: jax.random.randint(key, (), 0, np.iinfo(np.int32).max))(keys)
        pool, obs = call_reset(replaced, seed)
        return Ticket(pool, seed), obs

    def reset(keys: jax.Array) -> tuple[Ticket, jax.Array]:
        keys = as_keys(keys, 1, "keys")
        return begin(keys, jnp.full(len(keys), NEW))

    def restart(keys: jax.Array, state: Ticket) -> tuple[Ticket, jax.Array]:
        return begin(as_keys(keys, 1, "keys"), state.pool)

    def step(keys: jax.Array, state: Ticket, action: jax.Array, initial: PyTree) -> tuple[Ticket, Timestep]:
        pool, obs, reward, terminated, truncated, final_obs = call_step(state.pool, action)
        return state._replace(pool=pool), Timestep(obs, reward, terminated, truncated, final_obs)

    def close(state: Ticket) -> None:
        number = state.pool.reshape(-1)  # of any number of runs
        call_close(number) if isinstance(number, Tracer) else host.close(np.asarray(number))

    return Environment(
        name=name,
        observation_size=observation_size,
        low=low,
        high=high,
        reset=reset,
        step=step,
        time_limit=time_limit,
        on_host=True,
        restart=restart,
        close=close,
        check=host.check,
    )
