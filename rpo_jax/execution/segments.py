"""Runs trained segment by segment: one compiled program that does any number of updates of every run."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.metrics import METRICS, Metrics
from rpo_jax.algorithm.rpo import init, train_iteration
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.compiling.jit import jit
from rpo_jax.execution.devices import BY_DEVICE, BY_RUN, EVERYWHERE, Spread
from rpo_jax.execution.sweep import Runs, collect

MAX_SEGMENT = 128  # updates


class Segments:
    """The states of runs between two segments, on their devices; batches of runs take turns."""

    def __init__(self, spread: Spread, program: Any, runs: Runs, initial: Policy | None):
        """For runs of a program that `compile_segment` made for this `Spread`."""
        self._spread, self._program = spread, program
        self._runs, self._initial = runs, initial
        self._batches = spread.place(runs.arrays)
        self._states: list[TrainingState] = []
        self.like: TrainingState = jax.eval_shape(lambda: self._collect(self._begin()))  # [H, S, ...]

    def restore(self, state: TrainingState) -> None:
        """Goes on from states [H, S, ...] in NumPy, random keys as their data."""
        of_runs = jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), state)
        kind = jax.random.key_impl(self._batches[0][1])
        placed, like = self._spread.place_states(of_runs), jax.eval_shape(self._begin)
        self._states = [_with_keys(*pair, kind) for pair in zip(placed, like, strict=True)]

    def begin(self, updates: int) -> None:
        """Makes the states that nothing was restored for: all of them, or environments on the host.

        Args:
            updates: done so far; environments on the host begin other episodes than they began with.
        """
        if not self._states:
            self._states = self._begin()
        elif self._spread.agent.env.on_host:
            pairs = zip(self._states, self._begin(episodes=updates), strict=True)
            names = ("env_state", "obs", "discounted_return")
            self._states = [old.replace(**{name: getattr(new, name) for name in names}) for old, new in pairs]
        jax.block_until_ready(self._states)

    def advance(self, count: int) -> dict[str, np.ndarray]:
        """Does `count` updates of every run, and gives their metrics {name: [H, S, count]}.

        Raises:
            SimulatorError: if an environment on the host failed; all is as it was before.
        """
        pairs = zip(self._batches, self._states, strict=True)
        states, metrics = zip(*(self._program(settings, state, count) for (settings, _), state in pairs), strict=True)
        rows = _rows(self._spread, metrics, count, self._runs)  # waits for the segment
        self._spread.agent.env.check()
        self._states = list(states)
        return rows

    def state(self) -> TrainingState:
        """Of all runs, leaves [H, S, ...]."""
        return jax.block_until_ready(self._collect(self._states))

    def data(self) -> TrainingState:
        """`state` in NumPy, random keys as their data; `restore` takes it."""
        return jax.device_get(data_of_keys(self.state()))

    def policy(self) -> Policy:
        """Of all runs, leaves [H, S, ...]."""
        own = [state.replace(env_state=None, obs=None, discounted_return=None) for state in self._states]
        return self._collect(own).policy

    def close(self) -> None:
        """Frees what environments hold on the host."""
        jax.effects_barrier()  # a segment that was cut still steps its environments
        for state in self._states:
            self._spread.agent.env.close(state.env_state)

    def _begin(self, episodes: int = 0) -> list[TrainingState]:
        """States before the first update; other `episodes` are others of the same seeds."""
        batches = self._batches
        if episodes:
            batches = [(runs, jax.vmap(jax.random.fold_in, (0, None))(keys, episodes)) for runs, keys in batches]
        return [_init_runs(self._spread, *batch, self._initial) for batch in batches]

    def _collect(self, states: list[TrainingState]) -> TrainingState:
        return collect(self._spread, [(state, {}) for state in states], self._runs.count, self._runs.num_seeds)[0]


def compile_segment(runs: Runs, spread: Spread, initial: Policy | None = None) -> Any:
    """The program of a segment. It donates its input states; not those of the host, where it may fail."""
    settings, keys = spread.placed(runs.arrays)
    state = spread.shapes(partial(_init_runs, spread), settings, keys, initial)
    advance = _advance_runs if spread.agent.env.on_host else _advance_runs_in_place
    return spread.compile(advance.trace(spread, settings, state, 0))


def data_of_keys(state: TrainingState) -> TrainingState:
    """A state whose random keys are plain numbers."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state)


def _with_keys(state: TrainingState, like: TrainingState, kind: Any) -> TrainingState:
    """The way back: keys of that kind where `like` has keys."""
    return jax.tree.map(lambda x, y: jax.random.wrap_key_data(x, impl=kind) if _is_key(y) else x, state, like)


def _is_key(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _rows(spread: Spread, batches: Sequence[Metrics], count: int, runs: Runs) -> dict[str, np.ndarray]:
    """Metrics of a segment's `count` updates {name: [H, S, count]}."""
    parts = [{name: spread.runs(np.asarray(x)[:, :count]) for name, x in metrics.items()} for metrics in batches]
    return runs.by_setting({name: np.concatenate([part[name] for part in parts])[: runs.count] for name in METRICS})


@partial(jit, static_argnums=0)
def _init_runs(spread: Spread, settings: Hyperparams, keys: jax.Array, initial: Policy | None) -> TrainingState:
    return spread.map(partial(init, spread.agent), (BY_RUN, BY_RUN, EVERYWHERE), BY_DEVICE)(settings, keys, initial)


def _advance(spread: Spread, settings: Hyperparams, state: TrainingState, count: int) -> tuple[TrainingState, Any]:
    """`count` updates of every run; a traced number, so that one program serves segments of any length."""

    def updates(hyperparams: Hyperparams, state: TrainingState, count: int):
        def body(index, carry):
            state, rows = carry
            state, metrics = train_iteration(spread.agent, hyperparams, state)
            return state, {name: rows[name].at[index].set(metrics[name]) for name in METRICS}

        return jax.lax.fori_loop(0, count, body, (state, {name: jnp.zeros(MAX_SEGMENT) for name in METRICS}))

    return spread.map(updates, (BY_RUN, BY_DEVICE, EVERYWHERE), (BY_DEVICE, BY_RUN))(settings, state, count)


_advance_runs = jit(_advance, static_argnums=0)
_advance_runs_in_place = jit(_advance, static_argnums=0, donate_argnums=2)
