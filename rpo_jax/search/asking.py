"""Settings that Optuna proposes: asked for in batches, each of which one call trains, and told in batches."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rpo_jax.algorithm.config import Hyperparams
from rpo_jax.errors import SettingsError, one_line
from rpo_jax.settings.grid import check_base, check_settings, join_columns
from rpo_jax.settings.space import Choice, Distribution, check_space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution

MOST_ASKED = 20  # times the number that is needed, where choices are proposed again and again


def ask_settings(
    study: "Study", count: int, base: Hyperparams | None = None, /, **space: Distribution
) -> "tuple[list[Trial], Hyperparams]":
    """Asks an Optuna study for settings that are trained in one call (Akiba et al. 2019, arXiv 1907.10902).

    The study decides which sampler proposes them and where they are stored. `TPESampler(constant_liar=True)` is made
    for batches; it draws at random until it was told of ten settings, or of `n_startup_trials`.

    Args:
        study: from `optuna.create_study(direction="maximize")`.
        count: number of settings, H.
        base: values of the other hyperparameters; the defaults if None. Of a method with hyperparameters of its own,
            its `hyperparams_type()`.
        **space: the range of each named hyperparameter, from `uniform`, `loguniform` or `choice`.

    Returns:
        The trials of the study, for `tell_returns`, and their settings, leaves [H]; several may be equal.

    Raises:
        SettingsError: if Optuna is not installed, the study is none or does not maximise, no range is given, a name is
            unknown, a range goes beyond what the hyperparameter can be, the number is out of range, or the study
            proposes something else; trials that were begun are then told to have failed.
    """
    optuna = _check_study(study)
    base = check_base(base, space)
    check_settings(count)
    check_space(base, space)
    trials: list[Trial] = []
    try:
        rows = []
        for _ in range(count):
            trials.append(study.ask())
            rows.append([_suggest(trials[-1], name, ranged) for name, ranged in space.items()])
        return trials, join_columns(base, dict(zip(space, np.array(rows).T, strict=True)), count)
    except (ValueError, KeyError, ImportError) as error:  # some samplers need other packages
        for trial in trials:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise SettingsError(f"the study proposes no settings of these ranges: {one_line(str(error), 200)}") from None


def tell_returns(study: "Study", trials: "Sequence[Trial]", returns: Any) -> None:
    """Tells an Optuna study what its settings got.

    Args:
        study: the study.
        trials: H trials from `ask_settings`.
        returns: return of each run [H, S], of which the mean over seeds is told; or [H]. A setting whose mean is not
            finite, as where a run diverged, is told to be pruned, which `TPESampler` takes for the worst.

    Raises:
        SettingsError: if the study is none, the trials are not of it or were told before, or the returns are not as
            many numbers; nothing is told then.
    """
    optuna, stored = _check_study(study), study.get_trials(deepcopy=False)
    for trial in trials:
        if not isinstance(trial, optuna.Trial) or trial.number >= len(stored):
            raise SettingsError(f"{one_line(str(trial), 60)} is no trial of the study that ask_settings returned")
        if stored[trial.number].state.is_finished():
            raise SettingsError(f"trial {trial.number} was told before; ask for others")
    try:
        means = np.asarray(returns, float)
    except (TypeError, ValueError):
        raise SettingsError("returns are no array of numbers; give [H, S], or [H]") from None
    if means.ndim not in (1, 2) or len(means) != len(trials) or not means.size:
        raise SettingsError(f"returns of shape {means.shape} do not fit {len(trials)} trials; give [H, S], or [H]")
    for trial, mean in zip(trials, means.reshape(len(trials), -1).mean(axis=1), strict=True):
        if np.isfinite(mean):
            study.tell(trial, float(mean))
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def propose(
    space: Mapping[str, Distribution],
    known: Sequence[Mapping[str, Any]],
    means: Sequence[float],
    spare: Sequence[dict[str, float]],
    count: int,
    seed: int,
) -> list[dict[str, float]]:
    """Proposes settings that differ from each other and from known ones, by Optuna's TPE (Bergstra et al. 2011).

    Args:
        space: ranges of hyperparameters by name.
        known: settings that were trained, each with its numbers by name.
        means: mean return of each; NaN where a run diverged.
        spare: settings to take where choices are left that the sampler proposes too seldom.
        count: number of settings to propose.
        seed: seed of the sampler; all else being the same, so are the proposals.

    Returns:
        The settings, each with its numbers by name.
    """
    optuna = import_optuna()
    distributions = {name: _as_optuna(ranged) for name, ranged in space.items()}
    with _silent(optuna):
        # Those that are known cover the ranges, so that nothing more is to be drawn at random.
        sampler = optuna.samplers.TPESampler(n_startup_trials=1, constant_liar=True, seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for row, mean in zip(known, means, strict=True):
            params = {name: _within(ranged, row[name]) for name, ranged in space.items()}
            ended: dict[str, Any] = {"value": mean} if mean == mean else {"state": optuna.trial.TrialState.PRUNED}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, **ended))
        asked = (study.ask(distributions).params for _ in range(MOST_ASKED * count))
        taken, proposed = {_as_key(row, space) for row in known}, []
        for row in itertools.chain(asked, spare):
            if _as_key(row, space) not in taken:
                taken.add(_as_key(row, space))
                proposed.append(row)
            if len(proposed) == count:
                break
    return proposed


def import_optuna() -> Any:
    """Imports Optuna.

    Returns:
        The module.

    Raises:
        SettingsError: if it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise SettingsError("Optuna is not installed; pip install 'rpo_jax[optuna]'") from None
    return optuna


def _check_study(study: "Study") -> Any:
    optuna = import_optuna()
    if not isinstance(study, optuna.Study):
        raise SettingsError(f"{study!r} is no study of Optuna; optuna.create_study(direction='maximize') makes one")
    if study.directions != [optuna.study.StudyDirection.MAXIMIZE]:
        raise SettingsError("the study does not maximise one number; optuna.create_study(direction='maximize') does")
    return optuna


def _suggest(trial: "Trial", name: str, ranged: Distribution) -> float:
    if isinstance(ranged, Choice):
        return trial.suggest_categorical(name, ranged.values)
    return trial.suggest_float(name, ranged.low, ranged.high, log=ranged.log)


def _as_optuna(ranged: Distribution) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(ranged, Choice):
        return CategoricalDistribution(ranged.values)
    return FloatDistribution(ranged.low, ranged.high, log=ranged.log)


def _within(ranged: Distribution, number: float) -> float:
    """The number of a range that was rounded to float32."""
    if isinstance(ranged, Choice):
        return min(ranged.values, key=lambda value: abs(value - number))
    return float(np.clip(number, ranged.low, ranged.high))


def _as_key(row: Mapping[str, Any], space: Mapping[str, Distribution]) -> tuple[np.float32, ...]:
    return tuple(np.float32(row[name]) for name in space)


@contextlib.contextmanager
def _silent(optuna: Any) -> Iterator[None]:
    """Each study and each trial would be a line on the console."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
