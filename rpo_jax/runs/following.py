"""Several processes: the first one runs a command, and the others train what it announces, in step with it."""

import logging

import jax
import numpy as np

from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SettingsError, SimulatorError
from rpo_jax.errors import described as told
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.fit import fit
from rpo_jax.execution.processes import Message, are_several, from_first, is_first, told_of_loss
from rpo_jax.execution.signals import stop_requests
from rpo_jax.execution.snapshot import state_shapes
from rpo_jax.runs.evaluate import evaluation_of
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import describe, parse_spec
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

END = "end"  # key of the announcement that ends a job


def announce(spec: RunSpec, initial: Policy | None, session: Session) -> None:
    """Tells the other processes, if there are some, what the first one is about to train by `fitted`.

    Args:
        spec: specification of the run.
        initial: policy from which every run starts; None if there is none.
        session: how it is trained.
    """
    if not are_several():
        return
    described: JsonObject = {"spec": describe(spec), "num_threads": spec.num_threads}
    described |= {"runs_at_once": session.runs_at_once, "until": session.until}
    _exchange({str(number): np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(initial))}, described)


def dismiss(code: int) -> None:
    """Ends the other processes with an exit `code`."""
    _exchange({}, {END: code})


def follow() -> int:
    """Trains what the first process announces, until it ends the job.

    Returns:
        The exit code that it gave.
    """
    assert not is_first()
    with stop_requests():  # one that arrives between two runs stops the next one
        while END not in (announced := _exchange())[1]:
            try:
                _train(*announced)
            except (SettingsError, SimulatorError) as error:  # the first process is told, and ends the job
                logging.getLogger("rpo_jax").error(told(error))
    return announced[1][END]


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
