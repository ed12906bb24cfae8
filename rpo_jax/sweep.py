"""Many runs in one compiled call: seeds times hyperparameter settings."""

import dataclasses
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.agent import Agent
from rpo_jax.compiling import jit
from rpo_jax.config import Hyperparams, check_hyperparams, check_numbers, field_names
from rpo_jax.devices import BY_DEVICE, BY_RUN, Spread, join_runs
from rpo_jax.errors import SettingsError, unknown_name
from rpo_jax.memory import fit_in_memory
from rpo_jax.metrics import Metrics
from rpo_jax.rpo import train
from rpo_jax.types import TrainingState

MAX_SEEDS = 1_000_000


def seeds(first: int, count: int) -> jax.Array:
    """Keys [count] of the seeds `first ... first + count - 1`, each the same as `jax.random.key(seed)`.

    Raises:
        SettingsError: if there is no seed, or one is negative or above 2^32 - 1.
    """
    check_seeds(first, count)
    # Threefry whatever the process's default: under vmap the others do not give each seed a stream of its own.
    make_key = partial(jax.random.key, impl="threefry2x32")
    return jax.vmap(make_key)(jnp.arange(first, first + count, dtype=jnp.uint32))


def check_seeds(first: int, count: int) -> None:
    """Raises a SettingsError unless these are seeds."""
    if count < 1:
        raise SettingsError(f"the number of seeds is {count}; it must be 1 or more")
    if count > MAX_SEEDS:
        raise SettingsError(f"the number of seeds is {count}; it must be {MAX_SEEDS} or less")
    if first < 0 or first + count > 2**32:
        raise SettingsError(f"seeds {first} ... {first + count - 1} are out of range: 0 ... {2**32 - 1}")


def grid(base: Hyperparams | None = None, /, **values: Sequence[float] | float) -> Hyperparams:
    """All combinations of the given values, as one `Hyperparams` with leaves [H]; the last name varies fastest.

    Args:
        base: gives the numbers that are not named; the defaults if None.
        **values: one or several values for each named hyperparameter.

    Raises:
        SettingsError: if a name is unknown or a value out of range.
    """
    base = base or Hyperparams()
    for name in values:
        if name not in field_names(base):
            raise unknown_name("hyperparameter", name, field_names(base))
    for name in field_names(base):
        if np.ndim(getattr(base, name)):
            raise SettingsError(f"the base of a grid is a single setting, but its {name} holds several values")
    lists = [_distinct_numbers(name, value) for name, value in values.items()]
    combinations = list(itertools.product(*lists))  # H tuples
    columns = {name: np.asarray(column) for name, column in zip(values, zip(*combinations, strict=True), strict=True)}
    settings = dataclasses.replace(base, **columns)
    with np.errstate(over="ignore"):
        settings = jax.tree.map(lambda x: np.broadcast_to(np.float32(x), (len(combinations),)), settings)
    check_hyperparams(settings)  # once more: what float32 cannot hold has become 0 or infinite
    return settings


def _distinct_numbers(name: str, value: Sequence[float] | float) -> list[float]:
    items: Any = value.tolist() if isinstance(value, np.ndarray | np.generic | jax.Array) else value
    items = list(items) if isinstance(items, Sequence) and not isinstance(items, str) else [items]
    check_numbers(name, items)
    with np.errstate(over="ignore"):
        different = {np.float32(str(item)) for item in items}
    if not items or len(different) < len(items):
        raise SettingsError(f"{name}={items} needs one value, or several that differ")
    return items


def num_settings(hyperparams: Hyperparams) -> int:
    """H of a grid."""
    return np.size(hyperparams.learning_rate)


def settings_list(hyperparams: Hyperparams) -> list[dict[str, float | None]]:
    """The H settings of a grid, each a plain dictionary."""
    fields = {name: getattr(hyperparams, name) for name in field_names(hyperparams)}
    return [
        {
            name: None if value is None else float(str(np.float32(np.ravel(value)[index])))
            for name, value in fields.items()
        }
        for index in range(num_settings(hyperparams))
    ]


def as_runs(hyperparams: Hyperparams, keys: jax.Array) -> tuple[Hyperparams, jax.Array]:
    """Settings [H], or a single one, times keys [S] as runs [H*S], the seed varying fastest."""
    check_hyperparams(hyperparams)
    if not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) or keys.ndim != 1:
        raise SettingsError(
            f"keys are {keys.dtype}{list(keys.shape)}, and must be random keys [S]; make them with seeds"
        )
    if np.ndim(hyperparams.learning_rate) == 0:
        hyperparams = grid(hyperparams)
    if {np.shape(leaf) for leaf in jax.tree.leaves(hyperparams)} != {(num_settings(hyperparams),)}:
        raise SettingsError("the settings do not all have the same shape [H]; make them with grid")
    runs = jax.tree.map(lambda x: np.repeat(np.asarray(x), len(keys)), hyperparams)
    return runs, keys[np.tile(np.arange(len(keys)), num_settings(hyperparams))]


def by_setting_and_seed(tree: Any, num_seeds: int) -> Any:
    """Leaves [H*S, ...] as [H, S, ...]."""
    return jax.tree.map(lambda x: x.reshape((-1, num_seeds, *x.shape[1:])), tree)


def sweep(
    agent: Agent,
    hyperparams: Hyperparams,
    keys: jax.Array,
    devices: Sequence[Any] | None = None,
    runs_at_once: int | None = None,
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

    Returns:
        States and metrics with leaves [H, S, ...] and {name: [H, S, U]}.

    Raises:
        SettingsError: if `runs_at_once` is not 1 or more, or memory does not hold a single run.
        SimulatorError: if an environment on the host failed; `fit` keeps what was trained before that.
    """
    runs = as_runs(hyperparams, keys)
    num_runs = len(runs[1])
    agent.env.forget()
    spread, program = fit_in_memory(agent, num_runs, devices, runs_at_once, partial(compile_sweep, runs))
    results = [jax.block_until_ready(program(*batch)) for batch in spread.place(runs)]  # one after another
    agent.env.check()
    return collect(spread, results, num_runs, len(keys))


def compile_sweep(runs: tuple[Hyperparams, jax.Array], spread: Spread) -> Any:
    """The program that trains as many of the runs as the `Spread` has; `memory.needed_bytes` tells its memory."""
    return spread.compile(_train_runs.trace(spread, *spread.placed(runs)))


@partial(jit, static_argnums=0)
def _train_runs(spread: Spread, hyperparams: Hyperparams, keys: jax.Array) -> tuple[TrainingState, Metrics]:
    def whole_run(hyperparams: Hyperparams, key: jax.Array) -> tuple[TrainingState, Metrics]:
        state, metrics = train(spread.agent, hyperparams, key)
        spread.agent.env.close(state.env_state)
        return state, metrics

    return spread.map(whole_run, (BY_RUN, BY_RUN), (BY_DEVICE, BY_RUN))(hyperparams, keys)


@partial(jit, static_argnums=(0, 2, 3))
def collect(
    spread: Spread, batches: list[tuple[TrainingState, Metrics]], num_runs: int, num_seeds: int
) -> tuple[TrainingState, Metrics]:
    """Spread states and metrics of batches of runs, as [H, S, ...]."""
    whole = [(spread.states(states), spread.runs(metrics)) for states, metrics in batches]
    return by_setting_and_seed(join_runs(whole, num_runs), num_seeds)
