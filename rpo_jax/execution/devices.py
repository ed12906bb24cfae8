"""Where work lies: runs over devices first, since they never talk; where they are too few, their environments too."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import TrainConfig
from rpo_jax.algorithm.sharing import AXIS, Share
from rpo_jax.algorithm.types import TrainingState
from rpo_jax.compiling.cores import num_cores
from rpo_jax.compiling.jit import compile_traced, set_process_options
from rpo_jax.errors import SettingsError

RUNS = "runs"
CACHE_BYTES = 2**20  # a core's usual cache; measured: with less, training is no faster, and compilation slower
CHUNK_SIZE = 2048  # samples, for each core of a device, whose activations stay there in networks of 64-64
ROWS = 512  # samples of one matrix product from which on a core gains nothing by taking more runs at once
# What a state has of each environment, and on which axis.
_ENVIRONMENTS = {"env_state": -1, "obs": 0, "discounted_return": 0}
BY_RUN, BY_DEVICE, EVERYWHERE = PartitionSpec(RUNS), PartitionSpec((RUNS, AXIS)), PartitionSpec()


def use_cpu_cores(count: int | None = None) -> None:
    """Gives a CPU one XLA device per core, over which runs are spread; call it before JAX starts.

    Sets two environment variables, unless they are set, which child processes inherit. `XLA_FLAGS`: programs of your
    own are compiled with the options of those of rpo_jax. `PJRT_NPROC`: the devices get no helper threads beyond the
    cores.

    Args:
        count: devices; the cores that this process may use if None.

    Raises:
        SettingsError: if JAX has started already, or the count cannot be used.
    """
    cores = num_cores()
    count = cores if count is None else count
    if type(count) is not int or count < 1:
        raise SettingsError(f"count={count!r} is out of range: it must be a whole number, 1 or more")
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise SettingsError(
            "use_cpu_cores comes too late: JAX has started; call it before anything is computed"
        ) from None
    # The devices' shared pool of helpers would be as large again, and their threads in each other's way.
    os.environ.setdefault("PJRT_NPROC", str(max(1, cores // count)))
    set_process_options()


class Layout(NamedTuple):
    """How runs lie on devices: `groups` of devices with different runs, and in each `shares` of their environments."""

    groups: int
    shares: int


def lay_out(num_runs: int, config: TrainConfig, num_devices: int) -> Layout:
    """As many groups as there are runs; devices left over share environments, in shares of equal size."""
    groups = min(num_runs, num_devices)
    divisible = config.num_envs // config.num_minibatches
    if config.shuffle == "samples":
        divisible = np.gcd(config.num_envs, config.round_timesteps // config.num_minibatches)
    shares = next(share for share in range(num_devices // groups, 0, -1) if divisible % share == 0)
    return Layout(groups, shares)


def _runs_of_a_core(config: TrainConfig) -> int:
    return -(-ROWS * config.num_minibatches // config.round_timesteps)


class Spread:
    """Runs [R, ...] spread over devices.

    Each device holds K runs, or its share of their environments, and takes `batch_size` of them at once. Spread leaves
    are `[groups * K, ...]` for what is of a run, and `[groups * shares * K, ...]` for what is of a device; the last
    runs are repeated where the groups hold more than R.
    """

    def __init__(self, agent: Agent, num_runs: int, devices: Sequence[Any]):
        on_cpu = devices[0].platform == "cpu"
        cores = max(1, num_cores() // jax.local_device_count())  # of each device
        sizes = {"cache_bytes": CACHE_BYTES, "chunk_size": cores * CHUNK_SIZE}
        self.layout = groups, shares = lay_out(num_runs, agent.config, len(devices))
        self.agent = dataclasses.replace(agent, share=Share(shares, **(sizes if on_cpu else {})))
        self.num_runs = num_runs
        of_device = -(-num_runs // groups)
        at_once = _runs_of_a_core(agent.config) if on_cpu and not agent.env.on_host else of_device
        batches = -(-of_device // at_once)
        self.batch_size = -(-of_device // batches)
        self._slots = np.minimum(np.arange(groups * batches * self.batch_size), num_runs - 1)
        self.devices = devices[: groups * shares]
        self._mesh = Mesh(np.asarray(self.devices).reshape(groups, shares), (RUNS, AXIS))

    def place(self, runs: Any) -> list[Any]:
        """Leaves of any number of runs, as batches of R that are spread; the last run fills up the last batch."""
        total = len(jax.tree.leaves(runs)[0])
        first = range(0, total, self.num_runs)
        batches = [jax.tree.map(lambda x, n=n: x[np.minimum(n + self._slots, total - 1)], runs) for n in first]
        return jax.device_put(batches, NamedSharding(self._mesh, BY_RUN))

    def place_states(self, state: TrainingState) -> list[TrainingState]:
        """States of any number of runs, in NumPy, as batches of R that are spread: the way back from `states`."""
        groups, shares = self.layout
        total = len(state.update)

        def of_all(x):
            x = x.reshape((groups, 1, -1, *x.shape[1:]))
            return np.broadcast_to(x, (groups, shares, *x.shape[2:])).reshape((-1, *x.shape[3:]))

        def apart(axis, x):
            before, after = x.shape[1:][:axis], x.shape[1:][axis:][1:]
            x = x.reshape((groups, -1, *before, shares, x.shape[1:][axis] // shares, *after))
            x = np.moveaxis(x, 2 + len(before), 1)  # [groups, shares, K, before, N / shares, after]
            return x.reshape((-1, *x.shape[3:]))

        def batch(first):
            own = jax.tree.map(lambda x: x[np.minimum(first + self._slots, total - 1)], state)
            parts = {
                name: jax.tree.map(partial(apart, axis), getattr(own, name)) for name, axis in _ENVIRONMENTS.items()
            }
            return jax.tree.map(of_all, own).replace(**parts)

        batches = [batch(first) for first in range(0, total, self.num_runs)]
        return jax.device_put(batches, NamedSharding(self._mesh, BY_DEVICE))

    def placed(self, runs: Any) -> Any:
        """What a batch of `place` looks like."""
        sharding = NamedSharding(self._mesh, BY_RUN)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(self._slots.shape, x.dtype, sharding=sharding), runs)

    def compile(self, traced: jax.stages.Traced) -> jax.stages.Compiled:
        """The program of a call traced for these devices; the last ones are found again."""
        return compile_traced(traced, self.devices[0].platform)

    def shapes(self, function: Callable[..., Any], *args: Any) -> Any:
        """What `function` of placed arguments gives, by device, without doing it."""

        def placed(x):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(self._mesh, BY_DEVICE))

        return jax.tree.map(placed, jax.eval_shape(function, *args))

    def runs(self, tree: Any) -> Any:
        """The runs of a batch, without those that fill it up."""
        return jax.tree.map(lambda x: x[: self.num_runs], tree)

    def states(self, state: TrainingState) -> TrainingState:
        """The runs' states [R, ...]: the environments of the shares put together, the rest of the first share."""
        groups, shares = self.layout

        def first(x):
            return x.reshape((groups, shares, -1, *x.shape[1:]))[:, 0].reshape((-1, *x.shape[1:]))

        def together(axis, x):
            """Leaves [groups * shares * K, ...] whose axis of environments is this one, counted without the runs."""
            x = x.reshape((groups, shares, -1, *x.shape[1:]))
            before, after = x.shape[3:][:axis], x.shape[3:][axis:][1:]
            x = jnp.moveaxis(x, 1, 2 + len(before))  # [groups, K, before, shares, N / shares, after]
            return x.reshape((groups * x.shape[1], *before, -1, *after))

        if shares > 1:
            parts = {
                name: jax.tree.map(partial(together, axis), getattr(state, name))
                for name, axis in _ENVIRONMENTS.items()
            }
            state = jax.tree.map(first, state).replace(**parts)
        return self.runs(state)

    def map(self, program: Callable[..., Any], inputs: Sequence[Any], outputs: Any) -> Callable[..., Any]:
        """`program` of single runs, over all of them.

        Args:
            program: of one run.
            inputs: `BY_RUN`, `BY_DEVICE` or `EVERYWHERE` (the same for all runs) for each argument.
            outputs: likewise, for what it gives.
        """

        def over_runs(*args):
            shared = {i: arg for i, (arg, spec) in enumerate(zip(args, inputs, strict=True)) if spec is EVERYWHERE}
            own = {i: arg for i, arg in enumerate(args) if i not in shared}

            def one(own):
                return program(*(({**shared, **own})[i] for i in range(len(args))))

            return map_in_batches(one, own, self.batch_size)

        return jax.shard_map(over_runs, mesh=self._mesh, in_specs=tuple(inputs), out_specs=outputs, check_vma=False)


def map_in_batches(function: Callable[[Any], Any], xs: Any, batch_size: int) -> Any:
    """`function` over the first axis of the leaves: `batch_size` at once by vmap, one batch after another."""
    size = len(jax.tree.leaves(xs)[0])
    if batch_size == 1 and size == 1:
        return jax.tree.map(lambda x: x[None], function(jax.tree.map(lambda x: x[0], xs)))
    if batch_size == size:
        return jax.vmap(function)(xs)
    return jax.lax.map(function, xs, batch_size=batch_size if batch_size > 1 else None)


def spread_runs(agent: Agent, num_runs: int, devices: Sequence[Any] | None = None) -> Spread:
    """Runs over devices, all if None; the same `Spread` for the same ones, so that its programs are found again."""
    return _spread_runs(agent, num_runs, tuple(jax.devices() if devices is None else devices))


_spread_runs = lru_cache(maxsize=64)(Spread)


def join_runs(batches: Sequence[Any], num_runs: int) -> Any:
    """The runs of all batches, without those that fill up the last."""
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:num_runs], *batches)
