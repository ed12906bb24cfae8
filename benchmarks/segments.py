"""What do segments, progress and checkpoints cost? `fit` as the command runs it beside `sweep`, which has none of them.

Pendulum, preset `fast`, 8 seeds, so many steps that a checkpoint falls due. They take turns; compilation apart.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import tyro
from rich.console import Console

from recording import origin, write
from rpo_jax import fit, seeds, sweep, use_cpu_cores
from rpo_jax.execution.checkpoints import Checkpoints
from rpo_jax.runs.progress import ProgressBar
from rpo_jax.settings.spec import make_spec

TURNS = 3
TIMESTEPS = 10_240_000  # of each seed


def main() -> None:
    """Times `fit` beside `sweep`, and writes `results/segments.json`."""
    use_cpu_cores()
    spec = make_spec("gymnax/Pendulum-v1", total_timesteps=TIMESTEPS)
    agent, keys = spec.agent(), seeds(0, len(spec.seeds))
    jax.block_until_ready(sweep(agent, spec.hyperparams, keys))  # compiles
    rows: list[dict[str, Any]] = []
    for _ in range(TURNS):
        began = time.perf_counter()
        jax.block_until_ready(sweep(agent, spec.hyperparams, keys))
        plain = time.perf_counter() - began
        with tempfile.TemporaryDirectory() as folder, ProgressBar(Console(stderr=True), spec).show() as bar:
            result = fit(agent, spec.hyperparams, keys, bar, checkpoints=Checkpoints(Path(folder), "these", {}))
        rows.append({"sweep": plain, "fit": result.train_seconds, "checkpoints": result.checkpoint_seconds})
        Console(stderr=True).print(rows[-1])
    medians = {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}
    row = {"env": spec.env, "seeds": len(spec.seeds), "timesteps": TIMESTEPS, **medians}
    write("segments", [origin() | row])


if __name__ == "__main__":
    tyro.cli(main)
