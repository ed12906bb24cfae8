"""The paper's experiments, in parts that one core does in well under an hour.

`python benchmarks/paper.py --next` does the next part of the list that has not been recorded, with what its checkpoint
holds of it. Ctrl-C or SIGTERM stops it within seconds; the same command goes on.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from rich.console import Console

from arguments import chosen
from recording import add, records
from rpo_jax import Checkpoints, use_cpu_cores
from rpo_jax.settings.spec import make_spec
from study import record, train

CHECKPOINTS = Path(__file__).parent.parent / "runs" / "paper"
ALPHAS = [0.0, 0.5]  # PPO is RPO with alpha 0
# In the order in which they are run: how many seeds are a part, so that it takes 20 to 40 minutes of a core.
PPO_VS_RPO = {
    "envpool/WalkerRun-v1": 1,
    "envpool/HopperHop-v1": 1,
    "envpool/FishSwim-v1": 1,
    "envpool/QuadrupedRun-v1": 1,
    "envpool/HumanoidRun-v1": 1,
    "envpool/BallInCupCatch-v1": 2,
    "envpool/ReacherEasy-v1": 2,
    "envpool/FingerTurnHard-v1": 2,
    "envpool/CartpoleSwingup-v1": 2,
    "envpool/QuadrupedEscape-v1": 1,
    "envpool/BipedalWalker-v3": 1,
    "gymnasium/AntBulletEnv-v0": 1,  # MinitaurBulletEnv-v0 has not been carried over to Gymnasium
}
NUM_SEEDS = 10
TIMESTEPS = 8_000_000


class Part(NamedTuple):
    """A piece of an experiment.

    Attributes:
        experiment: its name, which is that of its file of results.
        label: the piece's own.
        settings: of `make_spec`: what is trained, in one call.
    """

    experiment: str
    label: str
    settings: dict[str, Any]


def ppo_vs_rpo() -> Iterator[Part]:
    """PPO and RPO under the published protocol: 1 environment a seed, time limits as terminations, 8M steps."""
    for env, size in PPO_VS_RPO.items():
        for first in range(0, NUM_SEEDS, size):
            settings = {
                "env": env,
                "preset": "paper",
                "num_seeds": size,
                "first_seed": first,
                "time_limit": "terminate",
                "total_timesteps": TIMESTEPS,
                "rpo_alpha": ALPHAS,
            }
            yield Part("ppo-vs-rpo", f"{env}, seeds {first} ... {first + size - 1}", settings)


EXPERIMENTS = {"ppo-vs-rpo": ppo_vs_rpo}


def main(
    experiments: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    only_next: Annotated[bool, tyro.conf.arg(name="next")] = False,
) -> None:
    """Does the parts of experiments that `results/paper-*.json` do not hold yet.

    Args:
        experiments: names of experiments; all if none.
        only_next: do only the next part.
    """
    use_cpu_cores()
    for experiment in chosen("experiment", experiments, EXPERIMENTS):
        for part in EXPERIMENTS[experiment]():
            if part.label not in {run["label"] for run in records(f"paper-{experiment}")}:
                do(part)
                if only_next:
                    return


def do(part: Part) -> None:
    """Trains a part, from its checkpoint if there is one, and records it."""
    Console(stderr=True).print(f"{part.experiment}: {part.label}")
    spec = make_spec(**part.settings)
    checkpoints = Checkpoints(CHECKPOINTS / part.experiment / part.label.replace("/", "-").replace(" ", ""))
    result = train(spec, checkpoints, hint="the same command goes on")
    add(f"paper-{part.experiment}", record(part.label, spec, result), "label")


if __name__ == "__main__":
    tyro.cli(main)
