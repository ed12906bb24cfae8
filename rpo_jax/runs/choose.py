"""Selection of one run of a folder: the requested one, or the best."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.algorithm.rpo import init
from rpo_jax.algorithm.types import Policy
from rpo_jax.errors import SettingsError
from rpo_jax.runs.results import LoadedRun, load_run
from rpo_jax.runs.summary import summary_of
from rpo_jax.settings.grid import seeds
from rpo_jax.settings.spec import RunSpec, run_label, setting_labels
from rpo_jax.typing import JsonObject


def choose(
    folder: Path, run: LoadedRun, setting: int | None = None, seed: int | None = None, best: bool = False
) -> tuple[int, int]:
    """Returns the indices in [H, S] of a policy: of those that match the arguments, the one with the best return.

    Args:
        folder: folder of the run.
        run: the run loaded from it.
        setting: index of the hyperparameter setting; any if None.
        seed: the seed; any if None.
        best: whether to compare the best returns of the evaluations instead of the final returns in training.

    Raises:
        SettingsError: if there is no such setting or seed.
    """
    labels, seeds = setting_labels(run.spec), run.spec.seeds
    if setting is not None and not 0 <= setting < len(labels):
        known = ", ".join(f"{index} ({label})" if label else str(index) for index, label in enumerate(labels))
        raise SettingsError(f"{folder} has no setting {setting}; it has {known}")
    if seed is not None and seed not in seeds:
        raise SettingsError(f"{folder} has no seed {seed}; it has {seeds[0]} ... {seeds[-1]}")
    found = summary_of(folder, run.spec)["best_return" if best else "final_return"]
    if found is None:
        raise SettingsError(f"{folder} holds no returns of evaluations to select the best policy by")
    returns = np.array(found, float)  # null is NaN
    returns = np.where(np.isnan(returns), -np.inf, returns)
    settings = range(len(labels)) if setting is None else [setting]
    places = range(len(seeds)) if seed is None else [seeds.index(seed)]
    return max(((h, s) for h in settings for s in places), key=lambda place: returns[place])


def load_initial(folder: Path, specs: Sequence[RunSpec]) -> tuple[str, Policy]:
    """Reads the best policy of a folder, for runs that start from it.

    Args:
        folder: folder of a trained run.
        specs: specifications of the runs that start from the policy.

    Returns:
        A label of the policy, such as "runs/hopper: seed 3", and the policy, NumPy leaves [...].

    Raises:
        SettingsError: if the folder cannot be read, or the policy does not fit the runs.
    """
    run = load_run(folder)
    place = choose(folder, run)
    policy = jax.device_get(policy_of(run, place))
    label = f"{folder}: {run_label(run.spec, *place)}"
    before = _what_parameters_mean(run.spec)
    for spec in specs:
        for name, now in _what_parameters_mean(spec).items():
            if before[name] != now:
                raise SettingsError(
                    f"{label} was trained with {name}={before[name]}, and cannot begin a run with {now}"
                )
        agent = spec.agent()
        jax.eval_shape(partial(init, agent), agent.variant.hyperparams_type(), seeds(0, 1)[0], policy)
    return label, policy


def _what_parameters_mean(spec: RunSpec) -> JsonObject:
    """The settings that say what the numbers of a policy mean; two policies of the same shapes can differ in them."""
    names = ("normalize_observations", "policy_observation_scale", "value_observation_scale", "activation")
    return {"head": spec.head, "network": spec.network, **{name: getattr(spec.config, name) for name in names}}


def policy_of(run: LoadedRun, place: tuple[int, int]) -> Policy:
    """Returns the policy of a `run` at the indices `place` in [H, S], leaves [...]."""
    return jax.tree.map(lambda x: jnp.asarray(x[place]), run.policy)


def clip_of(run: LoadedRun, place: tuple[int, int]) -> float:
    """Returns the bound to which normalised observations are clipped by the policy of a `run` at `place` in [H, S]."""
    return float(np.asarray(run.spec.hyperparams.observation_clip)[place[0]])
