"""What `gpu.py` runs in a process of its own: it prints what it finds as a line of JSON."""

import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

import rpo_jax
import study
from recording import Row
from rpo_jax.settings.spec import make_spec
from works import Work, agent_of

LONGEST = 60  # kernels that are named


def main(
    part: tyro.conf.Positional[Literal["kernels", "same", "learning"]], subject: tyro.conf.Positional[str]
) -> None:
    """Prints what is found of a work or of a task.

    Args:
        part: what is measured.
        subject: fields of the work, in JSON; for "learning" the environment.
    """
    if part == "learning":
        found = learning(subject)
    else:
        found = {"kernels": kernels, "same": same}[part](Work(**json.loads(subject)))
    print(json.dumps(found))


def kernels(work: Work) -> dict[str, Any]:
    """What a call of training launches on a GPU, by JAX's profiler."""
    agent, keys = agent_of(work), rpo_jax.seeds(0, work.seeds)

    def train() -> None:
        jax.block_until_ready(rpo_jax.sweep(agent, rpo_jax.grid(), keys))

    train()  # compiles
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            train()
        data = jax.profiler.ProfileData.from_file(str(next(Path(folder).rglob("*.xplane.pb"))))
    return _told(data)


def _told(data: Any) -> dict[str, Any]:
    kinds, spans = defaultdict(list), []
    for event in _events(data):
        size = next((str(value) for key, value in event.stats if key == "memcpy_details"), "")
        kinds[f"{event.name} {size}".strip()].append(event.duration_ns)
        spans.append((event.start_ns, event.start_ns + event.duration_ns))
    longest = sorted(((sum(times), len(times), name) for name, times in kinds.items()), reverse=True)[:LONGEST]
    return {
        "launches": len(spans),
        "busy_seconds": sum(end - begin for begin, end in spans) / 1e9,
        "seconds": (max(end for _, end in spans) - min(begin for begin, _ in spans)) / 1e9,
        "kernels": [{"name": name, "count": count, "microseconds": ns / 1e3} for ns, count, name in longest],
    }


def _events(data: Any) -> list[Any]:
    planes = [plane for plane in data.planes if plane.name.startswith("/device:GPU")]
    lines = [line for plane in planes for line in plane.lines if line.name.startswith("Stream")]
    return [event for line in lines for event in line.events]


def learning(env: str) -> Row:
    """A study's record of eight seeds of preset `fast`."""
    spec = make_spec(env, num_seeds=8)
    return study.record(env, spec, study.train(spec))


def same(work: Work) -> dict[str, float]:
    """How much a seed's run differs when it is trained again, and beside another seed."""
    agent = agent_of(work)

    def train(count: int) -> dict[str, np.ndarray]:
        result = jax.block_until_ready(rpo_jax.sweep(agent, rpo_jax.grid(), rpo_jax.seeds(0, count)))
        return jax.tree.map(np.asarray, result[1])

    one = train(1)
    began = time.perf_counter()
    again = train(1)
    seconds = time.perf_counter() - began
    first = {name: x[:, :1] for name, x in train(2).items()}
    return {"twice": _difference(one, again), "among_others": _difference(first, one), "seconds": seconds}


def _difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return float(max(np.nanmax(np.abs(a[k] - b[k]) / (1 + np.abs(b[k]))) for k in ("policy_loss", "entropy")))


if __name__ == "__main__":
    tyro.cli(main)
