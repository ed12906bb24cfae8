"""Training in segments: one compiled program that does any number of updates of every run."""

import logging
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.algorithm.metrics import METRICS, as_metrics, as_rows
from rpo_jax.algorithm.rpo import init, train_iteration
from rpo_jax.algorithm.types import Policy, TrainingState
from rpo_jax.compiling.jit import jit
from rpo_jax.errors import described
from rpo_jax.execution import waiting
from rpo_jax.execution.devices import BY_DEVICE, BY_RUN, EVERYWHERE, Spread
from rpo_jax.execution.processes import are_several, fetch, own_part, together
from rpo_jax.execution.sweep import Runs, collect
from rpo_jax.keys import data_of_keys, with_keys

MAX_SEGMENT = 128  # updates
LOG = logging.getLogger("rpo_jax")


class Segments:
    """The training states of all runs between segments. In each segment the calls are made one after another.

    Attributes:
        like: shapes and dtypes of the states, leaves [H, S, ...].
    """

    def __init__(self, spread: Spread, program: jax.stages.Compiled, runs: Runs, initial: Policy | None):
        """Creates runs without states; `begin` makes them.

        Args:
            spread: how the runs of one call are sharded.
            program: program of a segment, from `compile_segment` with the same runs and `Spread`.
            runs: runs of all calls.
            initial: trained policy with which every run begins; a new policy for each run if None.
        """
        self._spread, self._program = spread, program
        self._runs, self._initial = runs, initial
        self._batches = spread.place(runs.arrays)
        self._states: list[TrainingState] = []
        self.like: TrainingState = jax.eval_shape(lambda: self._collect(self._begin()))

    def restore(self, state: TrainingState) -> None:
        """Restores the states of `data`.

        Args:
            state: states of all runs, NumPy leaves [H, S, ...], with the data of random keys.
        """
        states = with_keys(jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), state), self.like)
        self._states = self._spread.place_states(states)

    def begin(self, updates: int) -> None:
        """Initialises the states, or after `restore` only the environments on the host.

        Args:
            updates: number of updates so far; it selects different episodes of environments on the host.
        """
        waiting.call(self._spread.agent.env, partial(self._begin_or_restart, updates))

    def _begin_or_restart(self, updates: int) -> None:
        if not self._states:
            self._states = self._begin()
        elif self._spread.agent.env.on_host:
            pairs = zip(self._states, self._begin(episodes=updates), strict=True)
            names = ("env_state", "obs", "discounted_return")
            self._states = [old.replace(**{name: getattr(new, name) for name in names}) for old, new in pairs]
        jax.block_until_ready(self._states)

    def advance(self, count: int) -> dict[str, np.ndarray]:
        """Does a number of updates of every run.

        Args:
            count: number of updates, at most `MAX_SEGMENT`.

        Returns:
            Metrics of these updates {name: [H, S, count]}.

        Raises:
            SimulatorError: if an environment on the host failed; the states are those before the call.
        """

        def advance() -> tuple[list[TrainingState], dict[str, np.ndarray]]:
            pairs = zip(self._batches, self._states, strict=True)
            done = (self._program(settings, state, count) for (settings, _), state in pairs)
            states, rows = zip(*done, strict=True)
            return list(states), _metrics(self._spread, rows, count, self._runs)  # waits for the segment

        states, metrics = waiting.call(self._spread.agent.env, advance)
        if self._spread.agent.env.on_host:
            together(self._spread.agent.env.check)
        self._states = states
        return metrics

    def state(self) -> TrainingState:
        """Returns the states of all runs, leaves [H, S, ...]."""
        return jax.block_until_ready(self._collect(self._states))

    def data(self) -> TrainingState:
        """Returns the states of all runs as NumPy arrays, with the data of random keys; `restore` reads them."""
        if self._spread.agent.env.on_host or are_several():
            return self._fetch(self._states)  # though the devices hang
        return jax.device_get(data_of_keys(self.state()))

    def policy(self) -> Policy:
        """Returns the policies of all runs, leaves [H, S, ...]."""
        own = [state.replace(env_state=None, obs=None, discounted_return=None) for state in self._states]
        return (self._fetch(own) if are_several() else self._collect(own)).policy

    def close(self) -> None:
        """Closes environments on the host, unless one hangs. An interrupt stops the closing; errors are warnings."""
        if waiting.is_hanging():
            return
        env = self._spread.agent.env

        def close() -> None:
            for state in self._states:
                env.close(own_part(state.env_state))

        try:
            jax.effects_barrier()  # a segment that was interrupted may still be stepping its environments
            waiting.call(env, close)
        except (Exception, KeyboardInterrupt) as error:
            LOG.warning(f"environments were not closed: {described(error)}")

    def _begin(self, episodes: int = 0) -> list[TrainingState]:
        """States before the first update; `episodes` selects different episodes of the same seeds."""
        batches = self._batches
        if episodes:
            batches = [(runs, jax.vmap(jax.random.fold_in, (0, None))(keys, episodes)) for runs, keys in batches]
        return [_init_runs(self._spread, *batch, self._initial) for batch in batches]

    def _fetch(self, states: list[TrainingState]) -> TrainingState:
        if are_several():
            return data_of_keys(self._collect(fetch(states)))
        return self._collect(jax.device_get(data_of_keys(states)))

    def _collect(self, states: list[TrainingState]) -> TrainingState:
        return collect(self._spread, [(state, {}) for state in states], self._runs.count, self._runs.num_seeds)[0]


def compile_segment(runs: Runs, spread: Spread, initial: Policy | None = None) -> jax.stages.Compiled:
    """Compiles a segment. It donates its input states, unless environments on the host may fail and lose them.

    Args:
        runs: runs of all calls.
        spread: how the runs of one call are sharded.
        initial: trained policy with which every run begins; a new policy for each run if None.

    Returns:
        The program: hyperparameters, states and a number of updates to states and rows of metrics [R, MAX_SEGMENT, K].
    """
    settings, keys = spread.placed(runs.arrays)
    state = spread.shapes(partial(_init_runs, spread), settings, keys, initial)
    advance = _advance_runs if spread.agent.env.on_host else _advance_runs_in_place
    return spread.compile(advance.trace(spread, settings, state, 0))


def _metrics(spread: Spread, batches: Sequence[jax.Array], count: int, runs: Runs) -> dict[str, np.ndarray]:
    """Gathers the metrics of the `count` updates of a segment {name: [H, S, count]}."""
    rows = np.concatenate([spread.runs(batch[:, :count]) for batch in fetch(list(batches))])[: runs.count]
    return runs.by_setting(as_metrics(rows))


@partial(jit, static_argnums=0)
def _init_runs(spread: Spread, settings: Hyperparams, keys: jax.Array, initial: Policy | None) -> TrainingState:
    return spread.map(partial(init, spread.agent), (BY_RUN, BY_RUN, EVERYWHERE), BY_DEVICE)(settings, keys, initial)


def _advance(
    spread: Spread, settings: Hyperparams, state: TrainingState, count: int
) -> tuple[TrainingState, jax.Array]:
    """Does `count` updates of every run. The count is traced, so that one program serves segments of any length."""

    def do_updates(hyperparams: Hyperparams, state: TrainingState, count: int):
        def body(index, carry):
            state, rows = carry
            state, metrics = train_iteration(spread.agent, hyperparams, state)
            return state, rows.at[index].set(as_rows(metrics))

        # Of each run from the beginning: what becomes so in a loop makes JAX trace the loop again under vmap.
        rows = jnp.zeros((MAX_SEGMENT, len(METRICS))) + 0 * state.update
        return jax.lax.fori_loop(0, count, body, (state, rows))

    return spread.map(do_updates, (BY_RUN, BY_DEVICE, EVERYWHERE), (BY_DEVICE, BY_RUN))(settings, state, count)


_advance_runs = jit(_advance, static_argnums=0)
_advance_runs_in_place = jit(_advance, static_argnums=0, donate_argnums=2)
