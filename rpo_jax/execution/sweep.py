"""Sweeps: every combination of seeds and hyperparameter settings, trained in one compiled call."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import jax
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, check_hyperparams
from rpo_jax.algorithm.metrics import Metrics
from rpo_jax.algorithm.rpo import train
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.compiling.jit import is_nested, jit
from rpo_jax.errors import SettingsError
from rpo_jax.execution import waiting
from rpo_jax.execution.batches import join_runs
from rpo_jax.execution.devices import BY_DEVICE, BY_RUN, EVERYWHERE, Spread
from rpo_jax.execution.memory import fit_in_memory
from rpo_jax.execution.processes import are_several, fetch
from rpo_jax.keys import as_keys
from rpo_jax.settings.grid import grid, num_settings
from rpo_jax.typing import Device

Tree = TypeVar("Tree")


@dataclasses.dataclass(frozen=True)
class Runs:
    """The runs of a sweep, R = H * S of them; the seed varies fastest.

    Attributes:
        hyperparams: settings of the runs, leaves [R].
        keys: random keys of the runs [R].
        num_seeds: number of seeds, S.
    """

    hyperparams: Hyperparams
    keys: jax.Array
    num_seeds: int

    @property
    def count(self) -> int:
        """The number of runs, R."""
        return len(self.keys)

    @property
    def arrays(self) -> tuple[Hyperparams, jax.Array]:
        """Hyperparameters and keys [R], the arguments of a program."""
        return self.hyperparams, self.keys

    def by_setting(self, tree: Tree) -> Tree:
        """Reshapes results of the runs by setting and seed.

        Args:
            tree: leaves [R, ...].

        Returns:
            Leaves [H, S, ...].
        """
        return by_setting_and_seed(tree, self.num_seeds)


def as_runs(hyperparams: Hyperparams, keys: jax.Array) -> Runs:
    """Lists the runs of a sweep; the seed varies fastest.

    Args:
        hyperparams: settings with leaves [H], or a single setting.
        keys: random keys of the seeds [S].

    Returns:
        The runs, H * S of them.

    Raises:
        SettingsError: if a hyperparameter is out of range, or hyperparameters or keys have the wrong shape or type.
    """
    check_hyperparams(hyperparams)
    keys = as_keys(keys, 1, "keys")
    if np.ndim(hyperparams.learning_rate) == 0:
        hyperparams = grid(hyperparams)
    if {np.shape(leaf) for leaf in jax.tree.leaves(hyperparams)} != {(num_settings(hyperparams),)}:
        raise SettingsError("the settings do not all have the same shape [H]; make them with grid")
    settings = jax.tree.map(lambda x: np.repeat(np.asarray(x), len(keys)), hyperparams)
    return Runs(settings, keys[np.tile(np.arange(len(keys)), num_settings(hyperparams))], len(keys))


def by_setting_and_seed(tree: Tree, num_seeds: int) -> Tree:
    """Reshapes results of runs by setting and seed.

    Args:
        tree: leaves [H * S, ...].
        num_seeds: number of seeds, S.

    Returns:
        Leaves [H, S, ...].
    """
    return jax.tree.map(lambda x: x.reshape((len(x) // num_seeds, num_seeds, *x.shape[1:])), tree)


def sweep(
    agent: Agent,
    hyperparams: Hyperparams,
    keys: jax.Array,
    devices: Sequence[Device] | None = None,
    runs_at_once: int | None = None,
    initial: Policy | None = None,
) -> tuple[TrainingState, Metrics]:
    """Trains every setting with every seed, in one compiled call if memory allows, otherwise in several equal calls.

    The random numbers of a run depend on its key only, not on the other runs in the call or the number of devices.
    `sweep` compiles its own program, so it cannot be called inside `jax.jit`; use `train` there.

    Args:
        agent: from `make_agent`.
        hyperparams: settings with leaves [H], from `grid`; or a single setting, so that H = 1.
        keys: random keys of the seeds [S], from `seeds`.
        devices: devices over which runs are sharded; all of the default platform if None. Of cores of a CPU a small run
            takes only as many as make it faster.
        runs_at_once: largest number of runs in one call; as many as fit in memory if None. The calls share one
            program. Results differ only by rounding.
        initial: trained policy with which every run begins, including its normalisation of observations; a new policy
            for each run if None.

    Returns:
        The last training states, leaves [H, S, ...], and metrics {name: [H, S, U]}, one entry per update.

    Raises:
        SettingsError: if a hyperparameter, the keys or `runs_at_once` cannot be used, a single run does not fit in
            memory, or the initial policy does not fit the agent.
        SimulatorError: if an environment on the host failed; unlike `fit`, this loses what was trained before.
    """
    runs, initial = as_runs(hyperparams, keys), jax.device_get(initial)
    compile_for = partial(compile_sweep, runs, initial=initial)
    spread, program = fit_in_memory(agent, runs.count, devices, runs_at_once, compile_for)

    def train_all() -> list[tuple[TrainingState, Metrics]]:
        return [jax.block_until_ready(program(*batch, initial)) for batch in spread.place(runs.arrays)]  # in turns

    results = waiting.call_and_check(agent.env, train_all)
    return collect(spread, results, runs.count, runs.num_seeds)


def compile_sweep(runs: Runs, spread: Spread, initial: Policy | None = None) -> jax.stages.Compiled:
    """Compiles the program that trains the runs of one call.

    Args:
        runs: runs of all calls.
        spread: how the runs of one call are sharded.
        initial: trained policy with which every run begins; a new policy for each run if None.

    Returns:
        The program; it takes a batch of `spread.place(runs.arrays)`, and the initial policy.
    """
    return spread.compile(_train_runs.trace(spread, *spread.placed(runs.arrays), initial))


@partial(jit, static_argnums=0)
def _train_runs(
    spread: Spread, hyperparams: Hyperparams, keys: jax.Array, initial: Policy | None
) -> tuple[TrainingState, Metrics]:
    def train_and_close(
        hyperparams: Hyperparams, key: jax.Array, initial: Policy | None
    ) -> tuple[TrainingState, Metrics]:
        state, metrics = train(spread.agent, hyperparams, key, initial)
        spread.agent.env.close(state.env_state)
        return state, metrics

    return spread.map(train_and_close, (BY_RUN, BY_RUN, EVERYWHERE), (BY_DEVICE, BY_RUN))(hyperparams, keys, initial)


def collect(
    spread: Spread, batches: list[tuple[TrainingState, Metrics]], num_runs: int, num_seeds: int
) -> tuple[TrainingState, Metrics]:
    """Gathers the results of all calls; compiled, unless they are NumPy arrays. Every one of several processes has all.

    Args:
        spread: how the runs of one call are sharded.
        batches: states, sharded by device, and metrics, sharded by run, of each call.
        num_runs: number of runs in all calls, H * S.
        num_seeds: number of seeds, S.

    Returns:
        States and metrics, leaves [H, S, ...].
    """
    if are_several() and not is_nested():
        return _collect(spread, fetch(batches), num_runs, num_seeds)
    on_host = isinstance(jax.tree.leaves(batches)[0], np.ndarray)
    return (_collect if on_host else _compiled_collect)(spread, batches, num_runs, num_seeds)


def _collect(
    spread: Spread, batches: list[tuple[TrainingState, Metrics]], num_runs: int, num_seeds: int
) -> tuple[TrainingState, Metrics]:
    gathered = [(spread.states(states), spread.runs(metrics)) for states, metrics in batches]
    return by_setting_and_seed(join_runs(gathered, num_runs), num_seeds)


_compiled_collect = jit(_collect, static_argnums=(0, 2, 3))
