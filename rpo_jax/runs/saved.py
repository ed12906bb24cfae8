"""Runs of Python in folders, as those of the command: saved, and their policies used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from rpo_jax.algorithm.acting import make_policy
from rpo_jax.errors import SettingsError
from rpo_jax.execution.fit import Fit
from rpo_jax.execution.identity import identify
from rpo_jax.export import policy as programs
from rpo_jax.runs.choose import choose, clip_of
from rpo_jax.runs.evaluate import evaluation_of
from rpo_jax.runs.folder import check_free
from rpo_jax.runs.launch import write_run
from rpo_jax.runs.ownership import lock_folder
from rpo_jax.runs.results import load_run
from rpo_jax.runs.settings import write_settings
from rpo_jax.settings.spec import RunSpec


def save_run(folder: Path | str, spec: RunSpec, result: Fit) -> None:
    """Writes a result of `fit` to a folder, which `load_run`, `load_policy` and all commands read.

    Args:
        folder: folder of the run, created if necessary.
        spec: specification of what was trained: `result` must be that of `fit` with `spec.agent()`,
            `spec.hyperparams` and `spec.keys()`, with as many evaluation episodes as it says,
            and without `initial`. An environment, variant, head or network of your own needs a name, given by
            `register`.
        result: what `fit` returned.

    Raises:
        SettingsError: if the folder holds a run, a file cannot be written, or the result is not that of the
            specification.
    """
    folder = Path(folder)
    _check_same(spec, result)
    with lock_folder(folder):
        check_free(folder)
        write_settings(folder, spec)
        write_run(folder, spec, result)


def load_policy(
    folder: Path | str, setting: int | None = None, seed: int | None = None, best: bool = False
) -> Callable[[np.typing.ArrayLike], np.ndarray]:
    """Reads a policy of a run as a function that acts: that with the best return of those asked for.

    Args:
        folder: folder of the run.
        setting: index of the hyperparameter setting; any if None.
        seed: the seed; any if None.
        best: whether to choose among the policies with the best evaluation of each run, instead of the last ones.

    Returns:
        The function, as of `make_policy`: observations [O] or [N, O] to actions [A] or [N, A].

    Raises:
        SettingsError: if the folder cannot be read, or has no such setting or seed.
    """
    folder = Path(folder)
    run = load_run(folder, best)
    place = choose(folder, run, setting, seed, best)
    return make_policy(run.agent, run.policy, run=place, observation_clip=clip_of(run, place))


def export_policy(
    folder: Path | str,
    out: Path | str | None = None,
    setting: int | None = None,
    seed: int | None = None,
    best: bool = False,
) -> dict[str, float]:
    """Writes a policy of a run as programs that do not need rpo_jax, as `rpo-jax export` does.

    Args:
        folder: folder of the run.
        out: folder for the programs; that of the run if None.
        setting: index of the hyperparameter setting; any if None.
        seed: the seed; any if None.
        best: as of `load_policy`.

    Returns:
        The largest difference between the actions of the program and the policy, by name of the file.

    Raises:
        SettingsError: if the folder cannot be read, has no such setting or seed, or cannot be written.
    """
    if not isinstance(folder, Path | str):
        raise SettingsError(f"export_policy takes the folder of a run, such as one of save_run, and not {folder!r:.60}")
    folder = Path(folder)
    run = load_run(folder, best)
    return programs.export(run, choose(folder, run, setting, seed, best), Path(out or folder))


def _check_same(spec: RunSpec, result: Fit) -> None:
    """Raises a SettingsError if a result is not that of a specification."""
    expected = identify(spec.agent(), spec.hyperparams, spec.keys(), evaluation_of(spec), None)
    evaluated = result.evaluated.returns.shape[-1] if result.evaluated else 0
    wanted = spec.evaluation_episodes if spec.num_evaluations else 0
    differ = [name for name, digest in expected.items() if name != "evaluation" and result.identity.get(name) != digest]
    differ += ["number of evaluation episodes"] if evaluated != wanted else []
    if differ:
        raise SettingsError(f"the result is not that of the specification: other {' and '.join(differ)}")
