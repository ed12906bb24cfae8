"""Suites that step on the host: one call of theirs for all environments of a device, from inside the compiled rollout.

Such a suite is a `Pool`: numpy in, numpy out. What JAX carries from step to step is a `Ticket`, which says which pool
an environment is in. A pool lives in this process and nowhere else: its state can be neither saved nor copied, so a
run cannot be resumed bit for bit, and a state whose pool is closed cannot be stepped.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import io_callback
from jax.experimental.buffer_callback import buffer_callback

from rpo_jax.envs.protocol import Environment, Timestep
from rpo_jax.errors import SimulatorError

LOG = logging.getLogger("rpo_jax")
MOST_BYTES = 2**16  # XLA copies up to 100 kB at once
NEW = np.int32(-1)


class Outcome(NamedTuple):
    """What a step of n environments gives, those that ended reset already.

    Attributes:
        obs: what to act on next [n, O].
        reward: [n].
        terminated: [n] bool.
        truncated: [n] bool.
        final_obs: the true successor, before any reset [n, O]; NaN where the simulator broke.
    """

    obs: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_obs: np.ndarray


class Pool(Protocol):
    """Environments of a suite, each with a seed of its own, stepped together.

    Either function may raise a `SimulatorError` whose `index` says which environment failed.
    """

    def reset(self) -> np.ndarray:
        """First observations [n, O]."""
        ...

    def step(self, action: np.ndarray) -> Outcome:
        """One step of all, broken episodes cut; action: [n, A] float32 within the bounds."""
        ...

    def close(self) -> None:
        """Frees what the pool holds."""
        ...


def cut_where_broken(obs: np.ndarray, reward: Any, terminated: Any, truncated: Any) -> tuple[Any, ...]:
    """True successors [..., O], rewards, ends: what is not finite cuts the episode, with NaN seen and no reward.

    Observations and rewards become float32, as the algorithm sees them, first.
    """
    with np.errstate(over="ignore"):
        obs, reward = np.asarray(obs, np.float32), np.asarray(reward, np.float32)
    broken = ~(np.isfinite(obs).all(-1) & np.isfinite(reward))
    if not broken.any():
        return obs, reward, terminated, truncated
    obs = np.where(broken[..., None], np.nan, obs)
    return obs, np.where(broken, 0.0, reward), terminated & ~broken, truncated | broken


class Ticket(NamedTuple):
    """The state of an environment on the host.

    Attributes:
        pool: its number [N] int32.
        seed: the environment's own [N] int32.
    """

    pool: jax.Array
    seed: jax.Array


class Host:
    """The open pools, by number; what compiled programs call.

    A pool that has failed is not stepped any more: each call gives NaN at once, so that no device waits for another,
    and whoever called the program learns of it by `check`.
    """

    def __init__(self, open_pool: Callable[[Sequence[int]], Pool], observation_size: int):
        self._open_pool = open_pool
        self._observation_size = observation_size
        self._numbers = itertools.count()
        self._pools: dict[int, Pool] = {}
        self._sizes: dict[int, int] = {}
        self._failed: set[int] = set()
        self._failure: SimulatorError | KeyboardInterrupt | None = None

    def reset(self, replaced: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Opens a pool of environments with these seeds [n]: its number [n], and first observations [n, O].

        It takes the place and the number of the pool `replaced` [n], if that is not `NEW`.
        """
        number = next(self._numbers) if replaced[0] == NEW else int(replaced[0])

        def begin() -> tuple[np.ndarray, ...]:
            if replaced[0] != NEW:
                self._pool(replaced)
                self.close(replaced)
            self._sizes[number] = len(seed)
            self._pools[number] = self._open_pool(seed.tolist())
            return self._checked(("obs",), (self._pools[number].reset(),), len(seed))

        (obs,) = self._guarded(number, begin) or (np.full((len(seed), self._observation_size), np.nan, np.float32),)
        return np.full(len(seed), number, np.int32), obs

    def step(self, number: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, ...]:
        """Steps a whole pool; its number again, and an `Outcome`."""

        def step() -> tuple[np.ndarray, ...]:
            outcome = self._pool(number).step(action)
            return self._checked(Outcome._fields, outcome, len(number))

        obs, none = np.full((len(number), self._observation_size), np.nan, np.float32), np.zeros(len(number), bool)
        lost = (obs, np.full(len(number), np.nan, np.float32), none, none, obs)
        return number, *(self._guarded(int(number[0]), step) or lost)

    def close(self, number: np.ndarray) -> tuple[np.ndarray]:
        """Closes pools; a number [n] for each of their environments."""
        for one in np.unique(number).tolist():
            self._sizes.pop(one, None)
            pool = self._pools.pop(one, None)
            if pool is not None:
                try:
                    pool.close()
                except Exception as error:
                    LOG.warning(f"environments could not be closed: {error}")
        return (number,)

    def check(self) -> None:
        """Raises the failure of an environment if there was one, once; or the interrupt that came while it stepped."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _pool(self, numbers: np.ndarray) -> Pool:
        first = int(numbers[0])
        if first not in self._pools or (numbers != first).any() or len(numbers) != self._sizes[first]:
            raise SimulatorError(
                "these environments are not those of one open pool: environments on the host live as long as the call "
                "that began them, and cannot be copied or rearranged"
            )
        return self._pools[first]

    def _checked(self, names: Sequence[str], arrays: Sequence[Any], n: int) -> tuple[np.ndarray, ...]:
        """What a pool gave, as XLA expects it."""
        checked = []
        for name, array in zip(names, arrays, strict=True):
            shape = (n, self._observation_size) if name.endswith("obs") else (n,)
            if np.shape(array) != shape:
                raise SimulatorError(f"a pool gave {name} of shape {np.shape(array)}, and must give {shape}")
            checked.append(np.asarray(array, _KINDS[name]))
        return tuple(checked)

    def _guarded(self, number: int, function: Callable[[], Any]) -> Any:
        """What the function gives; None if it fails, or the pool has failed before."""
        if number in self._failed:
            return None
        try:
            return function()
        except KeyboardInterrupt as interrupt:  # XLA may call from the main thread, and would make its own error of it
            failure = interrupt
        except BaseException as error:
            failure = error if isinstance(error, SimulatorError) else SimulatorError(f"{type(error).__name__}: {error}")
            failure.pool = number
            LOG.warning(f"an environment failed: {failure}")
        self._failed.add(number)
        self._failure = self._failure or failure
        return None


_KINDS = dict(zip(Outcome._fields, (np.float32, np.float32, np.bool_, np.bool_, np.float32), strict=True))


def host_environment(open_pool: Callable[[Sequence[int]], Pool], **attributes: Any) -> Environment:
    """Makes an Environment of a suite that steps on the host.

    Args:
        open_pool: gives a pool of environments with these seeds, non-negative int32.
        **attributes: `name`, `observation_size`, `low`, `high`, `time_limit` of the Environment.
    """
    size = attributes["observation_size"]
    host = Host(open_pool, size)
    call_reset = _call(host.reset, (((), np.int32), ((size,), np.float32)))
    outcome = ((((size,) if name.endswith("obs") else ()), kind) for name, kind in _KINDS.items())
    call_step = _call(host.step, (((), np.int32), *outcome))
    call_close = _call(host.close, (((), np.int32),))

    def begin(keys: jax.Array, replaced: jax.Array) -> tuple[Ticket, jax.Array]:
        seed = jax.vmap(lambda key: jax.random.randint(key, (), 0, np.iinfo(np.int32).max))(keys)
        pool, obs = call_reset(replaced, seed)
        return Ticket(pool, seed), obs

    def reset(keys: jax.Array) -> tuple[Ticket, jax.Array]:
        return begin(keys, jnp.full(len(keys), NEW))

    def restart(keys: jax.Array, state: Ticket) -> tuple[Ticket, jax.Array]:
        return begin(keys, state.pool)

    def step(keys: jax.Array, state: Ticket, action: jax.Array, initial: Any) -> tuple[Ticket, Timestep]:
        pool, obs, reward, terminated, truncated, final_obs = call_step(state.pool, action)
        return state._replace(pool=pool), Timestep(obs, reward, terminated, truncated, final_obs)

    def close(state: Ticket) -> None:
        number = state.pool.reshape(-1)  # of any number of runs
        call_close(number) if isinstance(number, Tracer) else host.close(np.asarray(number))

    calls = {"reset": reset, "step": step, "restart": restart, "close": close, "check": host.check}
    return Environment(**calls, on_host=True, **attributes)


def _on_one_device() -> bool:
    """Whether what is being traced is, or becomes under `shard_map`, a program of a single device."""
    return jax.device_count() == 1 or bool(jax.sharding.get_abstract_mesh().manual_axes)


def _pieces(x: jax.Array) -> list[jax.Array]:
    """An array [n, ...] in pieces that JAX hands to the host at once.

    Larger ones it has copied by a thread, perhaps the one that runs the call and waits for them: a deadlock.
    """
    rows = max(1, MOST_BYTES // (x[:1].size * x.dtype.itemsize))
    return [x[first : first + rows] for first in range(0, len(x), rows)]


def _call(function: Callable[..., Any], results: Sequence[tuple[tuple[int, ...], Any]]) -> Callable[..., Any]:
    """A call of a host function of arrays [n, ...]; under vmap one call with all of them, not one for each.

    Args:
        function: `arrays [n, ...] -> tuple of arrays [n, ...]`.
        results: shape without n, and dtype of each that it gives.
    """

    def in_place(_: Any, out: Sequence[Any], *args: Any) -> None:
        # Copies, for the memory is XLA's again once this returns.
        for to, array in zip(out, function(*(np.asarray(x).copy() for x in args)), strict=True):
            np.asarray(to)[...] = array

    def on_host(*args: list[jax.Array]) -> tuple[np.ndarray, ...]:
        return function(*(np.concatenate([np.asarray(piece) for piece in pieces]) for pieces in args))

    @jax.custom_batching.custom_vmap
    def call(*args: jax.Array) -> Any:
        shapes = tuple(jax.ShapeDtypeStruct((len(args[0]), *shape), dtype) for shape, dtype in results)

        def copied(*args: jax.Array) -> Any:
            return tuple(io_callback(on_host, shapes, *map(_pieces, args)))

        if not _on_one_device():
            return copied(*args)
        # Twelve times as fast, and waits for nothing; but XLA cannot split a program around it.
        in_memory = buffer_callback(in_place, shapes, has_side_effect=True)
        return jax.lax.platform_dependent(*args, cpu=in_memory, default=copied)

    @call.def_vmap
    def call_once(size: int, is_batched: Sequence[bool], *args: jax.Array) -> Any:
        whole = [x if own else jnp.broadcast_to(x, (size, *x.shape)) for x, own in zip(args, is_batched, strict=True)]
        together = call(*(x.reshape((-1, *x.shape[2:])) for x in whole))
        apart = tuple(x.reshape((size, -1, *x.shape[1:])) for x in together)
        return apart, (True,) * len(apart)

    return call
