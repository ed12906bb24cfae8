"""How do speed and memory grow with environments and seeds, and what is one iteration made of?

Points: whole training by `sweep`, the median of three measurements (each of a second or more), compilation apart;
memory is what XLA says that the compiled program holds: arguments, results and everything between, over all devices.

Stages: one iteration of one run on one device, cut into its stages, each compiled and timed by itself for a real state.
What XLA saves by compiling stages together, and what it spends, is in the whole only: stages need not add up to it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal, get_args

import jax
import tyro
from rich.console import Console

import rpo_jax
from recording import origin, records, write
from rpo_jax.algorithm.rollout import collect_rollout
from rpo_jax.algorithm.rpo import estimate_advantages, init, train_iteration
from rpo_jax.algorithm.update import update_policy
from rpo_jax.execution.devices import spread_runs
from rpo_jax.execution.memory import needed_bytes, usable_bytes
from rpo_jax.execution.sweep import as_runs, compile_sweep
from stepping import stepping
from timing import compiled, seconds_in_turns
from works import GPU_WORKS, PENDULUM, WORKS, Work, agent_of

MOST_UPDATES = 500  # where rounds are small, this many take a second


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What is measured on one kind of machine.

    Attributes:
        most_envs: the greatest number of environments, as a power of two.
        most_seeds: likewise of seeds.
        envs: of each seed, where seeds grow.
        steps: of one call, about.
        works: for the stages.
    """

    most_envs: int
    most_seeds: int
    envs: int
    steps: int
    works: dict[str, Work]


CPU = Sizes(most_envs=14, most_seeds=8, envs=64, steps=500_000, works=WORKS)
GPU = Sizes(most_envs=20, most_seeds=10, envs=4096, steps=30_000_000, works=GPU_WORKS)
Part = Literal["environments", "seeds", "stages"]


def main(
    parts: Annotated[tuple[Part, ...], tyro.conf.Positional] = get_args(Part),
    *,
    env: str = PENDULUM,
    gpu: bool = False,
    tiny: bool = False,
) -> None:
    """Measures speed and memory, and writes `results/scaling.json` after every point; other parts in it stay.

    Args:
        parts: what is measured.
        env: what is trained where environments or seeds grow.
        gpu: the sizes for a GPU, on the default device; writes `results/scaling_gpu.json`.
        tiny: two points of each part, to try the script out; writes nothing.
    """
    rpo_jax.use_cpu_cores()
    sizes = GPU if gpu else CPU
    if tiny:
        sizes = dataclasses.replace(sizes, most_envs=5, most_seeds=1, steps=1)
    name = f"scaling{'_gpu' if gpu else ''}"
    for part in parts:
        others = [row for row in records(name) if row["part"] != part or row.get("env") not in (env, None)]
        for row in measure(part, env, sizes):
            Console(stderr=True).print(row)
            others.append(row | origin())
            if not tiny:
                write(name, others)


def measure(part: Part, env: str, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """The records of a part."""
    if part == "stages":
        for name, work in sizes.works.items():
            if work.seeds == 1 and work.env in (PENDULUM, "brax/hopper"):
                yield {"part": part, "work": name, **stages(work)}
        return
    points = {
        "environments": [(2**n, 1) for n in range(4, sizes.most_envs + 1)],
        "seeds": [(sizes.envs, 2**n) for n in range(sizes.most_seeds + 1)],
    }
    yield from until_memory_ends({"part": part, "env": env}, points[part], sizes)


def until_memory_ends(labels: dict[str, str], points: list[tuple[int, int]], sizes: Sizes) -> Iterator[dict[str, Any]]:
    """A record for each number of environments and seeds; where memory ends, the last says so."""
    for num_envs, num_seeds in points:
        updates = min(MOST_UPDATES, max(2, sizes.steps // (num_envs * num_seeds * 32)))
        work = Work(labels["env"], num_seeds, num_envs, 32, 4, 8, updates)
        try:
            yield {**labels, "num_envs": num_envs, "num_seeds": num_seeds, "updates": updates, **point(work)}
        except MemoryError:
            yield {**labels, "num_envs": num_envs, "num_seeds": num_seeds, "memory_ended": True}
            return


def point(work: Work) -> dict[str, int]:
    """Speed and memory of whole training."""
    call = (agent_of(work), rpo_jax.grid(), rpo_jax.seeds(0, work.seeds))
    memory = memory_of(*call)
    seconds = seconds_in_turns({"": partial(rpo_jax.sweep, *call)}, turns=3)[""]
    return {"steps_per_second": round(work.timesteps / seconds), "bytes": memory}


def memory_of(agent: rpo_jax.Agent, hyperparams: rpo_jax.Hyperparams, keys: jax.Array) -> int:
    """Bytes that a sweep in one call needs on all devices together. `sweep` finds its program compiled.

    Raises:
        MemoryError: if the devices do not have as many.
    """
    spread = spread_runs(agent, len(keys))
    needed = needed_bytes(compile_sweep(as_runs(hyperparams, keys), spread))
    usable = usable_bytes(spread.devices)
    if usable is not None and needed > usable:
        raise MemoryError
    return needed * len(spread.devices)


def stages(work: Work) -> dict[str, Any]:
    """Milliseconds of each stage of an iteration, of the whole, and of stepping the environments alone."""
    agent = spread_runs(agent_of(work), 1, jax.devices()[:1]).agent
    hyperparams = rpo_jax.Hyperparams()
    key, key_act, key_learn = jax.random.split(jax.random.key(0), 3)

    begun = jax.jit(partial(init, agent, hyperparams))(key)
    iterate = partial(train_iteration, agent, hyperparams)
    state, _ = compiled(iterate, begun)()
    blocks = agent.share.num_blocks(state.env_state)
    calls: dict[str, Callable[[], Any]] = {
        "iteration": compiled(iterate, state),
        "rollout": compiled(lambda state: collect_rollout(agent, state, hyperparams, key_act), state),
        "environment steps": compiled(*stepping(rpo_jax.make_env(work.env), work.num_envs, work.num_steps, blocks)),
    }
    acted = calls["rollout"]()
    calls["advantages"] = compiled(
        lambda state, rollout: estimate_advantages(agent, state, rollout, hyperparams), *acted
    )
    judged = calls["advantages"]()
    calls["update"] = compiled(lambda state, batch: update_policy(agent, state, batch, key_learn, hyperparams), *judged)
    seconds = seconds_in_turns(calls)
    return {
        "steps": work.num_envs * work.num_steps,
        "milliseconds": {name: float(f"{1000 * value:.4g}") for name, value in seconds.items()},
    }


if __name__ == "__main__":
    tyro.cli(main)
