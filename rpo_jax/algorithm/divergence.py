"""A run of many that stops being finite: it keeps what it had learned, and the others go on."""

import jax
import jax.numpy as jnp

from rpo_jax.algorithm.metrics import Metrics
from rpo_jax.algorithm.types import FAULTS, TrainingState


def quarantine(before: TrainingState, after: TrainingState, metrics: Metrics) -> tuple[TrainingState, Metrics]:
    """The state after a round; where that is not finite, or a round before was not, what was learned stays as it was.

    Args:
        before: the state that the round began with.
        after: what the round made of it; its fault is that of the update.
        metrics: of the round [].

    Returns:
        The state, and metrics that are NaN where the round was lost.
    """
    own = jnp.stack([~_finite(moments) for moments in (after.obs_moments, after.return_moments)])
    fault = jnp.where(own.any(), jnp.argmax(own) + FAULTS.index("observations"), after.fault)
    fault = jnp.where(before.fault > 0, before.fault, fault).astype(jnp.int32)
    lost = fault > 0
    # Environments go on: they are stepped with the others' anyway, and on the host they cannot be held.
    kept = {
        name: jax.tree.map(lambda x, y: jnp.where(lost, x, y), getattr(before, name), getattr(after, name))
        for name in ("params", "opt_state", "obs_moments", "return_moments", "discounted_return", "update")
    }
    return after.replace(**kept, fault=fault), {name: jnp.where(lost, jnp.nan, x) for name, x in metrics.items()}


def first_fault(**finite: jax.Array) -> jax.Array:
    """Index into `FAULTS` [] int32 of the first that is not finite: of the first step, and there in the given order.

    Args:
        **finite: for names of `FAULTS`, whether they were finite at each step [M] bool.
    """
    faults = ~jnp.stack(list(finite.values()), axis=-1).ravel()
    index = jnp.asarray([FAULTS.index(name) for name in finite])[jnp.argmax(faults) % len(finite)]
    return jnp.where(faults.any(), index, 0).astype(jnp.int32)


def _finite(tree: object) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()
