"""How far is the normalisation of preset `paper` from that of the published script?

The script normalises each observation and reward by moments that already include it (Gymnasium's wrappers). rpo_jax
keeps the moments of observations for a whole update, and scales rewards by moments that include the whole update. Both
are applied here to the same run: one environment, preset `paper`, RPO.
"""

from functools import partial

import jax
import numpy as np
import tyro
from gymnasium.wrappers.utils import RunningMeanStd

from recording import Row, add
from rpo_jax import init, make_spec, train_iteration
from rpo_jax.algorithm.rollout import collect_rollout

TASKS = ("gymnax/Pendulum-v1", "brax/hopper")
UPDATES = (1, 2, 3, 10, 30)
CLIP = 10.0


def main() -> None:
    """Compares both on each task, and writes `results/normalization.json`."""
    for task in TASKS:
        for row in compare(task):
            add("normalization", {"env": task, **row}, "env", "update")


def compare(task: str) -> list[Row]:
    """Trains on a task, and compares what both would have made of its observations and rewards, by update."""
    # Time limits are told from terminations, as the wrappers tell them.
    spec = make_spec(task, preset="paper", num_seeds=1, time_limit="bootstrap")
    agent, hyperparams = spec.agent(), jax.tree.map(lambda x: x[0], spec.hyperparams)
    collect = jax.jit(partial(collect_rollout, agent))
    step = jax.jit(partial(train_iteration, agent))
    state, script, rows = init(agent, hyperparams, jax.random.key(0)), Script(agent.env.observation_size), []
    for update in range(1, max(UPDATES) + 1):
        _, key, _ = jax.random.split(state.key, 3)  # as in `train_iteration`
        _, rollout = collect(state, hyperparams, key)
        own_obs = agent.normalize(state.obs_moments, rollout.obs, CLIP)[:, 0]
        state, _ = step(hyperparams, state)
        steps = (rollout.obs, rollout.reward, rollout.terminated, rollout.ended)
        obs, scales, old_scales = script.follow(*(np.asarray(x[:, 0], float) for x in steps))
        own_scale = float(1 / np.sqrt(state.return_moments.variance + 1e-8))
        if update in UPDATES:
            rows.append(
                {
                    "update": update,
                    "observations": float(np.sqrt(np.mean((np.asarray(own_obs) - obs) ** 2))),
                    "rewards": float(np.median(own_scale / scales)),
                    "rewards of 0.26.3": float(np.median(own_scale / old_scales)),
                }
            )
    return rows


class Script:
    """The wrappers of the published script, step by step."""

    def __init__(self, observation_size: int):
        """Begins with nothing seen.

        Args:
            observation_size: length of an observation, O.
        """
        self._obs = RunningMeanStd(shape=(observation_size,))
        self._returns = {"0.29": RunningMeanStd(shape=()), "0.26.3": RunningMeanStd(shape=())}
        self._return = dict.fromkeys(self._returns, 0.0)

    def follow(self, *steps: np.ndarray) -> list[np.ndarray]:
        """Normalises the observations of steps in order, and returns them and the scales of rewards of two versions.

        Args:
            *steps: observations [T, O], rewards, and whether an episode terminated or ended at the step, [T].
        """
        found = []
        for obs, reward, terminated, ended in zip(*steps, strict=True):
            self._obs.update(obs[None])
            normalized = np.clip((obs - self._obs.mean) / np.sqrt(self._obs.var + 1e-8), -CLIP, CLIP)
            found.append((normalized, self._scale("0.29", reward), self._scale("0.26.3", reward)))
            self._return["0.29"] *= 1 - terminated  # a truncated episode's return goes on
            self._return["0.26.3"] *= 1 - ended
        return [np.stack(rows) for rows in zip(*found, strict=True)]

    def _scale(self, version: str, reward: float, gamma: float = 0.99) -> float:
        self._return[version] = gamma * self._return[version] + reward
        self._returns[version].update(np.array([self._return[version]]))
        return float(1 / np.sqrt(self._returns[version].var + 1e-8))


if __name__ == "__main__":
    tyro.cli(main)
