"""Several processes: the first one runs a command, and the others train what it announces, in step with it."""

import contextlib
import logging
from collections.abc import Iterator

import jax
import numpy as np

from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import described as told
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.fit import fit
from rpo_jax.execution.processes import Message, are_several, from_first, is_first, is_of_one, told_of_loss
from rpo_jax.execution.snapshot import state_shapes
from rpo_jax.runs.evaluate import evaluation_of
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import describe, parse_spec
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

END = "end"  # key of the announcement that ends a job
_apart = False  # whether the others are where the first process cannot tell them anything


@contextlib.contextmanager
def announced(spec: RunSpec, initial: Policy | None, session: Session) -> Iterator[None]:
    """Has the other processes, if there are some, train what the block trains by `fitted`.

    Args:
        spec: specification of the run.
        initial: policy from which every run starts; None if there is none.
        session: how it is trained.
    """
    global _apart
    if not are_several():
        yield
        return
    described: JsonObject = {"spec": describe(spec), "num_threads": spec.num_threads}
    described |= {"runs_at_once": session.runs_at_once, "until": session.until}
    _exchange({str(number): np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(initial))}, described)
    try:
        yield
    except BaseException as error:
        _apart = is_of_one(error)
        raise


def dismiss(code: int) -> bool:
    """Ends the other processes with an exit `code`, if they wait for the first one; returns whether they do."""
    if not _apart:
        _exchange({}, {END: code})
    return not _apart


def follow() -> int:
    """Trains what the first process announces, until it ends the job.

    Returns:
        The exit code that it gave.

    Raises:
        Exception: what only this process raises in training. It cannot go on then.
    """
    assert not is_first()
    while END not in (announcement := _exchange())[1]:
        try:
            _train(*announcement)
        except BaseException as error:
            if is_of_one(error):
                raise
            logging.getLogger("rpo_jax").error(told(error))  # the first process has an error too, and ends the job
    return announcement[1][END]


def _train(leaves: dict[str, np.ndarray], described: JsonObject) -> None:
    spec = parse_spec(described["spec"], num_threads=described["num_threads"])
    agent, initial = spec.agent(), None
    if leaves:
        tree = jax.tree.structure(state_shapes(agent).policy)
        initial = jax.tree.unflatten(tree, [leaves[str(number)] for number in range(len(leaves))])
    fit(
        agent,
        spec.hyperparams,
        spec.keys(),
        runs_at_once=described["runs_at_once"],
        checkpoints=Checkpoints("."),  # nothing is written: the first process has the folder
        evaluation=evaluation_of(spec),
        initial=initial,
        until=described["until"],
    )


def _exchange(arrays: dict[str, np.ndarray] | None = None, described: JsonObject | None = None) -> Message:
    """Returns what the first process announces: the leaves of the initial policy, and what is trained."""
    with told_of_loss():
        return from_first(lambda: (arrays or {}, described or {}))
