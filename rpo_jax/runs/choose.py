"""One run of a folder's: the one that is asked for, or the best."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SettingsError
from rpo_jax.runs.results import LoadedRun
from rpo_jax.runs.summary import read_summary
from rpo_jax.settings.spec import setting_labels


def choose(
    folder: Path, run: LoadedRun, setting: int | None = None, seed: int | None = None, best: bool = False
) -> tuple[int, int]:
    """Where a policy lies in the leaves [H, S, ...] of a run: of all that are not ruled out, the best final return.

    Args:
        folder: of the run.
        run: what was loaded from it.
        setting: index of the setting; any if None.
        seed: number of the seed; any if None.
        best: whether the policies are the best of the evaluations, whose returns count then.

    Raises:
        SettingsError: if there is no such setting or seed.
    """
    labels, seeds = setting_labels(run.spec), run.spec.seeds
    if setting is not None and not 0 <= setting < len(labels):
        known = ", ".join(f"{index} ({label})" if label else str(index) for index, label in enumerate(labels))
        raise SettingsError(f"{folder} has no setting {setting}; it has {known}")
    if seed is not None and seed not in seeds:
        raise SettingsError(f"{folder} has no seed {seed}; it has {seeds[0]} ... {seeds[-1]}")
    returns = np.array(read_summary(folder)["best_return" if best else "final_return"], float)  # null is NaN
    returns = np.where(np.isnan(returns), -np.inf, returns)
    settings = range(len(labels)) if setting is None else [setting]
    places = range(len(seeds)) if seed is None else [seeds.index(seed)]
    return max(((h, s) for h in settings for s in places), key=lambda place: returns[place])


def policy_of(run: LoadedRun, place: tuple[int, int]) -> Policy:
    """The policy that lies there, leaves [...]."""
    return jax.tree.map(lambda x: jnp.asarray(x[place]), run.policy)


def clip_of(run: LoadedRun, place: tuple[int, int]) -> float:
    """Where the observations of that policy are clipped."""
    return float(np.asarray(run.spec.hyperparams.observation_clip)[place[0]])
