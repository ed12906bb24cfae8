"""Playing episodes with the policies of a run folder."""

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from rpo_jax.evaluation import evaluate
from rpo_jax.runs.folder import LoadedRun
from rpo_jax.runs.spec import setting_labels
from rpo_jax.sweep import seeds

EVALUATION = 0xE7A1


def evaluate_run(run: LoadedRun, num_episodes: int, sample: bool, seed: int) -> np.ndarray:
    """Returns [H, S, num_episodes] of every policy of a run; all play the same episodes.

    Raises:
        SettingsError: if the seed is out of range.
        SimulatorError: if an environment on the host fails.
    """
    key = jax.random.fold_in(seeds(seed, 1)[0], EVALUATION)  # not the key that trained the seed of that number

    def play(policy, key, observation_clip):
        return evaluate(run.agent, policy, key, num_episodes, sample=sample, observation_clip=observation_clip)

    clips = jnp.asarray(run.spec.hyperparams.observation_clip)
    if not run.agent.env.on_host:
        over_seeds = jax.vmap(play, in_axes=(0, None, None))
        return np.asarray(jax.jit(jax.vmap(over_seeds, in_axes=(0, None, 0)))(run.policy, key, clips))
    # One after another: simulators of all at once would be too many.
    returns = np.empty((len(clips), len(run.spec.seeds), num_episodes), np.float32)
    for setting, seed in np.ndindex(returns.shape[:2]):
        policy = jax.tree.map(lambda x, i=(setting, seed): x[i], run.policy)
        returns[setting, seed] = play(policy, key, clips[setting])
        run.agent.env.check()
    return returns


def evaluation_table(run: LoadedRun, returns: np.ndarray, sample: bool) -> Table:
    """Returns of every policy as a table."""
    num_episodes = returns.shape[-1]
    table = Table(title=f"{run.spec.env}: {num_episodes} episodes with {'a sampled' if sample else 'the mean'} action")
    for column in ("setting", "seed", "return: mean", "deviation", "worst", "best"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    for label, rows in zip(setting_labels(run.spec), returns, strict=True):
        for seed, row in zip(run.spec.seeds, rows, strict=True):
            cells = (row.mean(), row.std(), row.min(), row.max())
            table.add_row(label, str(seed), *(f"{number:,.1f}" for number in cells))
    return table
