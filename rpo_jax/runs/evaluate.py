"""Evaluation of the policies of a run folder."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import numpy as np
from rich.table import Table

from rpo_jax.execution import waiting
from rpo_jax.execution.episodes import evaluate_all
from rpo_jax.execution.evaluations import Evaluation
from rpo_jax.execution.memory import check_evaluation
from rpo_jax.runs.results import LoadedRun
from rpo_jax.runs.tables import folding_table, in_lines
from rpo_jax.settings.grid import num_settings, seeds
from rpo_jax.settings.spec import RunSpec, setting_labels

EVALUATION = 0xE7A1
SELECTION = 0x5E1E  # the best policies are selected on other episodes than those that `evaluate` plays


def evaluate_run(run: LoadedRun, num_episodes: int, sample: bool, seed: int) -> np.ndarray:
    """Evaluates every policy of a run on the same episodes.

    Args:
        run: the run, loaded from its folder.
        num_episodes: number of episodes.
        sample: whether to sample actions instead of taking the mean action.
        seed: seed of the episodes.

    Returns:
        Returns of the episodes [H, S, num_episodes].

    Raises:
        SettingsError: if the seed is out of range, or the evaluation does not fit in memory.
        SimulatorError: if an environment on the host fails.
    """
    clips = run.spec.hyperparams.observation_clip
    num_runs = num_settings(run.spec.hyperparams) * len(run.spec.seeds)
    check_evaluation(run.agent, num_runs, num_episodes, jax.devices()[:1])
    parts = run.agent, run.policy, evaluation_key(seed), num_episodes
    evaluate = partial(evaluate_all, *parts, sample=sample, observation_clip=clips)
    return waiting.call_and_check(run.agent.env, evaluate)


def evaluation_of(spec: RunSpec) -> Evaluation | None:
    """Returns the settings of evaluation during training that a `spec` asks for; None if there is none."""
    if not spec.num_evaluations:
        return None
    key = jax.random.fold_in(evaluation_key(0), SELECTION)
    return Evaluation(spec.num_evaluations, spec.evaluation_episodes, key)


def evaluation_key(seed: int) -> jax.Array:
    """Returns the random key [] of evaluation episodes for a `seed`, which is another than that of training with it."""
    return jax.random.fold_in(seeds(seed, 1)[0], EVALUATION)


def evaluation_table(specs: Mapping[str, RunSpec], returns: Sequence[np.ndarray], sample: bool) -> Table:
    """Creates a table of the returns of every policy of each run; several runs are named.

    Args:
        specs: specifications of the runs by name.
        returns: returns of their episodes, each [H, S, episodes].
        sample: whether actions were sampled.

    Returns:
        The table.
    """
    action = "a sampled" if sample else "the mean"
    envs = " and ".join(dict.fromkeys(spec.env for spec in specs.values()))
    title = f"{envs}: returns of {returns[0].shape[-1]} episodes with {action} action"
    labels_of = [setting_labels(spec) for spec in specs.values()]
    words = [name for name, shown in (("run", len(specs) > 1), ("setting", any(map(any, labels_of)))) if shown]
    table = folding_table(title, words, ("seed", "mean", "standard\ndeviation", "worst", "best"))
    for (name, spec), own, labels in zip(specs.items(), returns, labels_of, strict=True):
        for setting, run in np.ndindex(own.shape[:2]):
            row = own[setting, run]
            cells = (f"{number:,.1f}" for number in (row.mean(), row.std(), row.min(), row.max()))
            texts = {"run": name, "setting": in_lines(labels[setting])}
            table.add_row(*(texts[word] for word in words), str(spec.seeds[run]), *cells)
    return table
