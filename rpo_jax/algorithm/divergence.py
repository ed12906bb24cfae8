"""Handling of diverged runs: a run with non-finite numbers keeps its last finite state; other runs are unaffected."""

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.metrics import Metrics, as_metrics, as_rows
from rpo_jax.algorithm.types import FAULTS, TrainingState


def quarantine(before: TrainingState, after: TrainingState, metrics: Metrics) -> tuple[TrainingState, Metrics]:
    """Returns the state after an update, without what was learned if this or an earlier update was not finite.

    Args:
        before: state before the update.
        after: state after the update; its `fault` is that of the learning step.
        metrics: metrics of the update [].

    Returns:
        The state, and the metrics, which are NaN if the update was discarded.
    """
    own = jnp.stack([~_finite(moments) for moments in (after.obs_moments, after.return_moments)])
    fault = jnp.where(own.any(), jnp.argmax(own) + FAULTS.index("observations"), after.fault)
    fault = jnp.where(before.fault > 0, before.fault, fault).astype(jnp.int32)
    lost = fault > 0
    # The environments advance in any case: they are stepped along with those of other runs, and environments on the
    # host cannot be restored.
    kept = {
        name: jax.tree.map(lambda x, y: jnp.where(lost, x, y), getattr(before, name), getattr(after, name))
        for name in ("params", "opt_state", "obs_moments", "return_moments", "discounted_return", "update")
    }
    return after.replace(**kept, fault=fault), as_metrics(jnp.where(lost, jnp.nan, as_rows(metrics)))


def fault_of(**finite: jax.Array) -> jax.Array:
    """Returns the index into `FAULTS` [...] int32 of the first quantity that is not finite; 0 if there is none.

    Args:
        **finite: whether each quantity was finite [...] bool, by name in `FAULTS`, the first one first.
    """
    fault = jnp.int32(0)
    for name in reversed(finite):
        fault = jnp.where(finite[name], fault, FAULTS.index(name))
    return fault


def first_fault(faults: jax.Array) -> jax.Array:
    """Returns the first of `faults` [M], indices into `FAULTS`, that is not 0; 0 if there is none."""
    return faults[jnp.argmax(faults > 0)].astype(jnp.int32)


def _finite(tree: object) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
