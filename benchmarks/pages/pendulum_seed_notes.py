"""The notes' experiment over seeds."""

import numpy as np

from pages.findings import claim, difference
from pages.markdown import alternatives, paragraph, section, table, worst_and_best
from recording import Row

STUCK = -3000  # reward of a round


def render(runs: list[Row]) -> str:
    """The section."""
    seeds = alternatives(f"{len(run['summary']['seeds'])} seeds" for run in runs)
    steps = alternatives(f"{run['summary']['total_timesteps']:,} steps" for run in runs)
    rounds = alternatives(
        f"{run['summary']['config']['num_envs'] * run['summary']['config']['num_steps']}" for run in runs
    )
    apart = [difference(rpo, ppo) for ppo, rpo in (run["final_round_reward"] for run in runs)]
    header = [
        "the value network's observations",
        "method",
        "first round",
        "end: median",
        "worst ... best seed",
        f"seeds that end above {STUCK}",
    ]
    return section(
        "The seed notes' experiment, over seeds",
        paragraph(
            f"Preset `seed-notes`, Pendulum-v1, {steps}, {seeds}: sum of rewards over a round of {rounds} steps.",
            "RPO perturbs both during the rollout and during the update. The notes divide the observations of the "
            "policy network by [1, 1, 8], but not those of the value network.",
            claim(
                f"RPO's mean less PPO's is {' and '.join(map(str, apart))} (standard errors), which is within chance.",
                all(one.within(2) for one in apart),
            ),
        ),
        table(header, [_row(run, setting) for run in runs for setting in range(len(run["settings_labels"]))]),
    )


def _row(run: Row, setting: int) -> list[str]:
    final, first = run["final_round_reward"][setting], run["first_round_reward"][setting]
    alpha = run["settings_labels"][setting].rpartition("=")[2]
    return [
        run["label"],
        f"{'PPO' if float(alpha) == 0 else 'RPO'} (alpha {alpha})",
        f"{np.mean(first):,.0f}",
        f"{np.median(final):,.0f}",
        worst_and_best(final),
        f"{sum(value > STUCK for value in final)} of {len(final)}",
    ]
