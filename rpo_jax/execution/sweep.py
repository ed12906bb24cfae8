"""Many runs in one compiled call: seeds times hyperparameter settings."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, check_hyperparams
from rpo_jax.algorithm.metrics import Metrics
from rpo_jax.algorithm.rpo import train
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.compiling.jit import jit
from rpo_jax.errors import SettingsError
from rpo_jax.execution.devices import BY_DEVICE, BY_RUN, EVERYWHERE, Spread, join_runs
from rpo_jax.execution.memory import fit_in_memory
from rpo_jax.settings.grid import grid, num_settings


@dataclasses.dataclass(frozen=True)
class Runs:
    """Settings times seeds, as runs [R]; R = H*S, the seed varying fastest.

    Attributes:
        hyperparams: leaves [R].
        keys: [R].
        num_seeds: S.
    """

    hyperparams: Hyperparams
    keys: jax.Array
    num_seeds: int

    @property
    def count(self) -> int:
        """R."""
        return len(self.keys)

    @property
    def arrays(self) -> tuple[Hyperparams, jax.Array]:
        """What a program takes of them."""
        return self.hyperparams, self.keys

    def by_setting(self, tree: Any) -> Any:
        """Leaves [R, ...] as [H, S, ...]."""
        return by_setting_and_seed(tree, self.num_seeds)


def as_runs(hyperparams: Hyperparams, keys: jax.Array) -> Runs:
    """Settings [H], or a single one, times keys [S].

    Raises:
        SettingsError: if settings or keys cannot be used.
    """
    check_hyperparams(hyperparams)
    if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.ndim != 1:
        raise SettingsError(
            f"keys are {keys.dtype}{list(keys.shape)}, and must be random keys [S]; make them with seeds"
        )
    if np.ndim(hyperparams.learning_rate) == 0:
        hyperparams = grid(hyperparams)
    if {np.shape(leaf) for leaf in jax.tree.leaves(hyperparams)} != {(num_settings(hyperparams),)}:
        raise SettingsError("the settings do not all have the same shape [H]; make them with grid")
    settings = jax.tree.map(lambda x: np.repeat(np.asarray(x), len(keys)), hyperparams)
    return Runs(settings, keys[np.tile(np.arange(len(keys)), num_settings(hyperparams))], len(keys))


def by_setting_and_seed(tree: Any, num_seeds: int) -> Any:
    """Leaves [H*S, ...] as [H, S, ...]."""
    return jax.tree.map(lambda x: x.reshape((len(x) // num_seeds, num_seeds, *x.shape[1:])), tree)


def sweep(
    agent: Agent,
    hyperparams: Hyperparams,
    keys: jax.Array,
    devices: Sequence[Any] | None = None,
    runs_at_once: int | None = None,
    initial: Policy | None = None,
) -> tuple[TrainingState, Metrics]:
    """Trains every setting with every seed in one compiled call, or in equal ones where memory does not hold all.

    A run's random stream depends on its key alone, however many others share the call, and however many devices. It
    compiles for itself, so it cannot be called inside `jax.jit`; `train` can.

    Args:
        agent: the static part, from `make_agent`.
        hyperparams: settings with leaves [H], from `grid`; or a single setting, which gives H = 1.
        keys: [S], from `seeds`.
        devices: over which runs are spread; all of the default platform if None.
        runs_at_once: the most in one call, even if memory holds more. The calls share one program; a cut changes no
            result but by rounding.
        initial: a trained policy that every run begins with, its normalisation included; new ones if None.

    Returns:
        States and metrics with leaves [H, S, ...] and {name: [H, S, U]}.

    Raises:
        SettingsError: if `runs_at_once` is not 1 or more, memory does not hold a single run, or the initial policy does
            not fit the agent.
        SimulatorError: if an environment on the host failed; `fit` keeps what was trained before that.
    """
    runs, initial = as_runs(hyperparams, keys), jax.device_get(initial)
    agent.env.forget()
    compile_for = partial(compile_sweep, runs, initial=initial)
    spread, program = fit_in_memory(agent, runs.count, devices, runs_at_once, compile_for)
    results = [jax.block_until_ready(program(*batch, initial)) for batch in spread.place(runs.arrays)]  # in turns
    agent.env.check()
    return collect(spread, results, runs.count, runs.num_seeds)


def compile_sweep(runs: Runs, spread: Spread, initial: Policy | None = None) -> Any:
    """The program that trains as many of the runs as the `Spread` has; `memory.needed_bytes` tells its memory."""
    return spread.compile(_train_runs.trace(spread, *spread.placed(runs.arrays), initial))


@partial(jit, static_argnums=0)
def _train_runs(
    spread: Spread, hyperparams: Hyperparams, keys: jax.Array, initial: Policy | None
) -> tuple[TrainingState, Metrics]:
    def whole_run(hyperparams: Hyperparams, key: jax.Array, initial: Policy | None) -> tuple[TrainingState, Metrics]:
        state, metrics = train(spread.agent, hyperparams, key, initial)
        spread.agent.env.close(state.env_state)
        return state, metrics

    return spread.map(whole_run, (BY_RUN, BY_RUN, EVERYWHERE), (BY_DEVICE, BY_RUN))(hyperparams, keys, initial)


@partial(jit, static_argnums=(0, 2, 3))
def collect(
    spread: Spread, batches: list[tuple[TrainingState, Metrics]], num_runs: int, num_seeds: int
) -> tuple[TrainingState, Metrics]:
    """Spread states and metrics of batches of runs, as [H, S, ...]."""
    whole = [(spread.states(states), spread.runs(metrics)) for states, metrics in batches]
    return by_setting_and_seed(join_runs(whole, num_runs), num_seeds)
