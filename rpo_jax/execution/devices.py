"""Sharding over devices: shard independent runs over devices first, then the environments of each run."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import TrainConfig
from rpo_jax.algorithm.sharing import AXIS, Share
from rpo_jax.algorithm.types import TrainingState
from rpo_jax.compiling.cores import num_cores
from rpo_jax.compiling.jit import compile_traced
from rpo_jax.execution.batches import map_in_batches
from rpo_jax.execution.division import count_useful_cores
from rpo_jax.execution.env_axis import join_environments, lay_out, split_environments
from rpo_jax.execution.processes import are_several, put
from rpo_jax.typing import Device, PyTree

RUNS = "runs"  # name of the mesh axis
CACHE_BYTES = 2**20  # usual cache of a core; measured: smaller blocks train no faster, and compile more slowly
MOST_ROWS = 2048  # samples of a chunk; measured: networks of 32-32 learn no faster from larger ones
LAYER_BYTES = 2**25  # of a layer's activations, for the values of a rollout: they stay in the cache of a large GPU
LEARNT_BYTES = 2**24  # the same in learning, where more is kept: all layers then fit the memory on the chip of a TPU
FEW_SAMPLES = 2**14  # whose values are computed at once, within `LAYER_BYTES`
ROWS = 512  # rows of a matrix product from which on a core gains nothing by batching more runs
# How an array is sharded: by run, by run and share of its environments, or replicated on all devices.
BY_RUN, BY_DEVICE, EVERYWHERE = PartitionSpec(RUNS), PartitionSpec((RUNS, AXIS)), PartitionSpec()

Tree = TypeVar("Tree")


def _runs_per_batch(config: TrainConfig) -> int:
    """The number of runs that a core should train at once, so that its matrix products have `ROWS` rows."""
    return -(-ROWS * config.num_minibatches // config.round_timesteps)


def _count_useful(agent: Agent, num_runs: int, devices: Sequence[Device]) -> int:
    """The number of devices that runs should take: all, but on a CPU those that make them faster."""
    if devices[0].platform != "cpu" or agent.env.on_host or are_several():
        return len(devices)
    return min(len(devices), num_runs * count_useful_cores(agent, max(1, len(devices) // num_runs)))


def _share_of_cpu(count: int, config: TrainConfig) -> Share:
    cores = max(1, num_cores() // jax.local_device_count())  # of each device
    of_sample = 4 * 2 * max(1, sum(config.hidden_sizes))  # bytes of the activations of both networks
    rows = min(max(CACHE_BYTES // of_sample, ROWS), MOST_ROWS)
    return Share(count, CACHE_BYTES, cores * rows)


def _share_of_accelerator(count: int, batch_size: int, config: TrainConfig, platform: str) -> Share:
    of_sample = 4 * batch_size * max(config.hidden_sizes, default=1)  # bytes of a layer, of all runs
    minibatch = config.round_timesteps // (config.num_minibatches * count)
    at_once = max(2 * minibatch, FEW_SAMPLES)  # learning keeps layers of two networks, so this takes no more memory
    at_once = max(1, min(at_once, LAYER_BYTES // of_sample))
    share = Share(count, values_at_once=at_once, in_stages=True)
    if platform == "tpu":  # it launches no kernels, and what saves them on a GPU copies arrays there
        if minibatch * of_sample <= LAYER_BYTES:
            return share
        # Many runs: memory counts. Short rows are padded, so that all arrays of a row take less as one.
        chunk_size = max(ROWS, LEARNT_BYTES // of_sample)
        return dataclasses.replace(share, chunk_size=chunk_size, joined_rows=config.shuffle == "environments")
    parts = max(8, 64 // batch_size)  # counted: fewest kernels, and little memory
    return dataclasses.replace(share, few_kernels=True, gradient_parts=parts)


def _with_sizes_of(usual: Share, own: Share) -> Share:
    """Returns the usual share with the sizes that an agent's own share names, if it names any."""
    sizes = ("cache_bytes", "chunk_size", "values_at_once")
    return dataclasses.replace(usual, **{name: getattr(own, name) or getattr(usual, name) for name in sizes})


class Spread:
    """Runs [R, ...] sharded over devices.

    Each device has K runs, or its share of their environments, and trains `batch_size` of them at once. Sharded leaves
    are `[groups * K, ...]` if sharded by run, and `[groups * shares * K, ...]` if sharded by device. Where groups * K
    is more than R, the last run is repeated as padding.

    Attributes:
        layout: number of groups of devices and of devices in a group.
        agent: the agent, with the share of environments that each device has.
        num_runs: number of runs, R.
        batch_size: number of runs that a device trains at once.
        devices: the devices that are used.
    """

    def __init__(self, agent: Agent, num_runs: int, devices: Sequence[Device]):
        """Shards runs over devices; use `spread_runs`, which caches.

        Args:
            agent: from `make_agent`.
            num_runs: number of runs, R.
            devices: devices to use, at least one.
        """
        on_cpu = devices[0].platform == "cpu"
        num_devices = _count_useful(agent, num_runs, devices)
        self.layout = groups, shares = lay_out(num_runs, agent.config, num_devices)
        self.num_runs = num_runs
        runs_per_device = -(-num_runs // groups)
        at_once = _runs_per_batch(agent.config) if on_cpu and not agent.env.on_host else runs_per_device
        batches = -(-runs_per_device // at_once)
        self.batch_size = -(-runs_per_device // batches)
        usual = (
            _share_of_cpu(shares, agent.config)
            if on_cpu
            else _share_of_accelerator(shares, self.batch_size, agent.config, devices[0].platform)
        )
        env = agent.env.on(devices[0].platform)
        self.agent = dataclasses.replace(agent, env=env, share=_with_sizes_of(usual, agent.share))
        self._slots = np.minimum(np.arange(groups * batches * self.batch_size), num_runs - 1)
        self.devices = devices[: groups * shares]
        self._mesh = Mesh(np.asarray(self.devices).reshape(groups, shares), (RUNS, AXIS))

    def place(self, runs: Tree) -> list[Tree]:
        """Puts runs on the devices, in batches of R.

        Args:
            runs: any number of runs, leaves [runs, ...].

        Returns:
            The batches, sharded by run; the last one is padded with the last run.
        """
        total = len(jax.tree.leaves(runs)[0])
        first = range(0, total, self.num_runs)
        batches = [jax.tree.map(lambda x, n=n: x[np.minimum(n + self._slots, total - 1)], runs) for n in first]
        return put(batches, NamedSharding(self._mesh, BY_RUN))

    def place_states(self, state: TrainingState) -> list[TrainingState]:
        """Puts training states on the devices, in batches of R: the inverse of `states`.

        Args:
            state: states of any number of runs, NumPy leaves [runs, ...], or random keys.

        Returns:
            The batches, sharded by device; the last one is padded with the last run.
        """
        total = len(state.update)

        def batch(first: int) -> TrainingState:
            padded = jax.tree.map(lambda x: x[np.minimum(first + self._slots, total - 1)], state)
            return split_environments(padded, self.layout)

        batches = [batch(first) for first in range(0, total, self.num_runs)]
        return put(batches, NamedSharding(self._mesh, BY_DEVICE))

    def placed(self, runs: Tree) -> Tree:
        """Describes a batch of `place` without making it.

        Args:
            runs: any number of runs, leaves [runs].

        Returns:
            The same tree of `jax.ShapeDtypeStruct`.
        """
        sharding = NamedSharding(self._mesh, BY_RUN)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(self._slots.shape, x.dtype, sharding=sharding), runs)

    def compile(self, traced: jax.stages.Traced) -> jax.stages.Compiled:
        """Compiles a call that was traced for these devices. Recent programs are cached.

        Args:
            traced: the call.

        Returns:
            The compiled program.
        """
        return compile_traced(traced, self.devices[0].platform, self.agent.config.deterministic)

    def shapes(self, function: Callable[..., Tree], *args: PyTree) -> Tree:
        """Describes the result of a function without calling it.

        Args:
            function: function whose result is sharded by device.
            *args: arguments, as of `placed`.

        Returns:
            The result as a tree of `jax.ShapeDtypeStruct`.
        """

        def placed(x):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(self._mesh, BY_DEVICE))

        return jax.tree.map(placed, jax.eval_shape(function, *args))

    def runs(self, tree: Tree) -> Tree:
        """Removes the padding from a batch.

        Args:
            tree: leaves [groups * K, ...].

        Returns:
            Leaves [R, ...].
        """
        return jax.tree.map(lambda x: x[: self.num_runs], tree)

    def states(self, state: TrainingState) -> TrainingState:
        """Gathers the states of a batch: joins the shares of environments, and removes the padding.

        Args:
            state: states sharded by device, leaves [groups * shares * K, ...].

        Returns:
            States of the runs, leaves [R, ...].
        """
        return self.runs(join_environments(state, self.layout))

    def map(
        self,
        program: Callable[..., Tree],
        inputs: Sequence[PartitionSpec],
        outputs: PartitionSpec | tuple[PartitionSpec, ...],
    ) -> Callable[..., Tree]:
        """Maps a function of one run over all runs and devices.

        Args:
            program: function of one run.
            inputs: `BY_RUN`, `BY_DEVICE` or `EVERYWHERE` (the same for all runs) for each argument.
            outputs: the same for each result.

        Returns:
            The function of sharded runs.
        """

        def over_runs(*args):
            shared = {i: arg for i, (arg, spec) in enumerate(zip(args, inputs, strict=True)) if spec is EVERYWHERE}
            own = {i: arg for i, arg in enumerate(args) if i not in shared}

            def one(own):
                return program(*(({**shared, **own})[i] for i in range(len(args))))

            return map_in_batches(one, own, self.batch_size)

        return jax.shard_map(over_runs, mesh=self._mesh, in_specs=tuple(inputs), out_specs=outputs, check_vma=False)


def spread_runs(agent: Agent, num_runs: int, devices: Sequence[Device] | None = None) -> Spread:
    """Shards runs over devices. The result is cached, and with it its programs.

    Args:
        agent: from `make_agent`.
        num_runs: number of runs, R.
        devices: devices to use; all of the default platform if None.

    Returns:
        The same `Spread` for the same arguments.
    """
    return _spread_runs(agent, num_runs, tuple(jax.devices() if devices is None else devices))


_spread_runs = lru_cache(maxsize=64)(Spread)
