"""Several processes: the first one runs a command, and the others train what it announces, in step with it."""

import io
import json
import logging
from typing import Any, NamedTuple

import jax
import numpy as np

from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SettingsError, SimulatorError, described
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.execution.fit import fit
from rpo_jax.execution.processes import are_several, from_first, is_first, told_of_loss
from rpo_jax.execution.signals import stop_requests
from rpo_jax.execution.snapshot import state_shapes
from rpo_jax.runs.evaluate import evaluation_of
from rpo_jax.runs.session import Session
from rpo_jax.runs.settings import describe, parse_spec
from rpo_jax.settings.spec import RunSpec
from rpo_jax.typing import JsonObject

END = "end"  # key of the announcement that ends a job


class _Announced(NamedTuple):
    described: JsonObject
    initial: list[np.ndarray]


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
    _exchange(_Announced(described, list(map(np.asarray, jax.tree.leaves(initial)))))


def dismiss(code: int) -> None:
    """Ends the other processes with an exit `code`."""
    _exchange(_Announced({END: code}, []))


def follow() -> int:
    """Trains what the first process announces, until it ends the job.

    Returns:
        The exit code that it gave.
    """
    assert not is_first()
    with stop_requests():  # one that arrives between two runs stops the next one
        while END not in (announced := _exchange()).described:
            try:
                _train(announced)
            except (SettingsError, SimulatorError) as error:  # the first process is told, and ends the job
                logging.getLogger("rpo_jax").error(described(error))
    return announced.described[END]


def _train(announced: _Announced) -> None:
    spec = parse_spec(announced.described["spec"], num_threads=announced.described["num_threads"])
    agent, initial = spec.agent(), None
    if announced.initial:
        initial = jax.tree.unflatten(jax.tree.structure(state_shapes(agent).policy), announced.initial)
    fit(
        agent,
        spec.hyperparams,
        spec.keys(),
        runs_at_once=announced.described["runs_at_once"],
        checkpoints=Checkpoints("."),  # nothing is written: the first process has the folder
        evaluation=evaluation_of(spec),
        initial=initial,
        until=announced.described["until"],
    )


def _exchange(own: _Announced | None = None) -> _Announced:
    """Returns what the first process announces."""

    def pack() -> bytes:
        assert own is not None
        file = io.BytesIO()
        arrays: Any = {str(number): array for number, array in enumerate(own.initial)}
        np.savez(file, described=json.dumps(own.described), **arrays)
        return file.getvalue()

    with told_of_loss():
        content = from_first(pack)
    with np.load(io.BytesIO(content)) as arrays:
        count = len(arrays.files) - 1
        return _Announced(json.loads(str(arrays["described"])), [arrays[str(number)] for number in range(count)])
