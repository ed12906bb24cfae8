"""What is the most that this machine could do, and how near is training to it?

Two costs cannot be avoided: stepping the environments, and the matrix products of acting and learning. Each is measured
by itself, on all devices at once; were they all there is, one after the other, that would be the limit.

Stepping alone: random actions, from states made beforehand, in one block (all the environments of a device step
together), in the blocks that training uses where it finds a cache to fill, and by `jax.vmap`, `batching="first"`.
Products alone: a round of training by networks without activations, biases, loss or optimiser, at training's own
shapes; and the same with the activations and Adam's steps, which cannot be left out either: activations matter where
networks are narrow, and Adam where minibatches are small. Beside them, the rate of plain products of one shape: `[rows
of a minibatch, width] x [width, width]`, and two square matrices of 2048.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import tyro
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console

import rpo_jax
from arguments import chosen
from products import (
    chain_of_products,
    factors,
    flops_of_chain,
    flops_per_step,
    networks_and_observations,
    products_of_a_round,
)
from recording import add
from rpo_jax.execution.devices import spread_runs
from stepping import stepping
from timing import compiled, seconds_in_turns
from works import GPU_WORKS, WIDTH_WORKS, WORKS, Work, agent_of

LARGE = 2048  # rows and columns of a product that is as fast as products get


def main(
    works: Annotated[tuple[str, ...], tyro.conf.Positional] = (), *, gpu: bool = False, updates: int | None = None
) -> None:
    """Measures how near training comes to the machine's limit; writes `results/roofline.json`, `roofline_widths.json`.

    Args:
        works: names of works; all if none.
        gpu: the works for a GPU, on the default device; writes `results/roofline_gpu.json`.
        updates: rounds of each run, to try the script out; writes nothing.
    """
    rpo_jax.use_cpu_cores()
    table = GPU_WORKS if gpu else WORKS | WIDTH_WORKS
    for name in chosen("work", works, table):
        work = table[name] if updates is None else dataclasses.replace(table[name], updates=updates)
        row = {"work": name, **limits(work)}
        Console(stderr=True).print(row)
        if updates is None:
            add("roofline_gpu" if gpu else "roofline_widths" if name in WIDTH_WORKS else "roofline", row, "work")


def limits(work: Work) -> dict[str, Any]:
    """Steps per second of one work: stepping alone, products alone, the limit they set, and training; medians."""
    agent, env = agent_of(work), rpo_jax.make_env(work.env)
    load = load_of(work, agent)
    shapes = {"own": (load.rows, work.width), "large": (LARGE, LARGE)}
    seconds = seconds_in_turns(calls(work, agent, load, shapes))
    steps_of_envs, devices = load.envs * work.num_steps, jax.device_count()
    flops = flops_per_step(work, env.observation_size, env.action_size)
    one_block, blocks, by_vmap = (
        devices * steps_of_envs / seconds[f"stepping, {way}"] for way in (1, load.blocks, "by vmap")
    )
    steps_of_runs = devices * load.runs * load.envs_of_a_run * work.num_steps
    products, networks = (steps_of_runs / seconds[part] for part in ("products", "networks"))
    fastest = max(by_vmap, one_block, blocks)
    return {
        "flops_per_step": flops,
        "blocks": load.blocks,
        "stepping_by_vmap": round(by_vmap),
        "stepping_in_one_block": round(one_block),
        "stepping_in_blocks": round(blocks),
        "products": round(products),
        "networks": round(networks),
        "limit": round(1 / (1 / fastest + 1 / products)),
        "limit_of_networks": round(1 / (1 / fastest + 1 / networks)),
        "training": round(work.timesteps / seconds["training"]),
        "rows": load.rows,
        "flops_per_second": {
            "of_a_round": products * flops,
            **{name: devices * flops_of_chain(*shape) / seconds[name] for name, shape in shapes.items()},
        },
    }


class Load(NamedTuple):
    """What training asks of each device.

    Attributes:
        envs: environments, of all its runs.
        blocks: in which training would step as many.
        runs: taken at once.
        envs_of_a_run: those of a run that this device has.
        rows: samples of a minibatch that this device has.
    """

    envs: int
    blocks: int
    runs: int
    envs_of_a_run: int
    rows: int


def calls(
    work: Work, agent: rpo_jax.Agent, load: Load, shapes: dict[str, tuple[int, int]]
) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    env = rpo_jax.make_env(work.env)
    inputs = networks_and_observations(env, work, load.runs, load.envs_of_a_run)
    step = partial(stepping, num_envs=load.envs, num_steps=work.num_steps)
    return {
        "training": partial(rpo_jax.sweep, agent, rpo_jax.grid(), rpo_jax.seeds(0, work.seeds)),
        "products": everywhere(partial(products_of_a_round, work), *inputs),
        "networks": everywhere(partial(products_of_a_round, work, whole=True), *inputs),
        **{f"stepping, {n}": everywhere(*step(env, num_blocks=n)) for n in {1, load.blocks}},
        "stepping, by vmap": everywhere(*step(rpo_jax.make_env(work.env, batching="first"), num_blocks=1)),
        **{name: everywhere(chain_of_products, *factors(*shape)) for name, shape in shapes.items()},
    }


def load_of(work: Work, agent: rpo_jax.Agent) -> Load:
    """How `sweep` lays a work on the devices."""
    spread = spread_runs(agent, work.seeds)
    shares = spread.layout.shares
    envs = max(1, work.seeds * work.num_envs // jax.device_count())
    state, _ = jax.eval_shape(agent.env.reset, jax.random.split(jax.random.key(0), envs))
    return Load(
        envs=envs,
        blocks=spread.agent.share.num_blocks(state),
        runs=spread.batch_size,
        envs_of_a_run=work.num_envs // shares,
        rows=work.num_steps * work.num_envs // work.num_minibatches // shares,
    )


def everywhere(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """A call of the same work on every device at once."""
    mesh = Mesh(jax.devices(), ("devices",))

    def one(*args):
        return jax.tree.map(lambda x: x[None], function(*args))

    placed = jax.device_put(args, NamedSharding(mesh, PartitionSpec()))
    mapped = jax.shard_map(
        one, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec("devices"), check_vma=False
    )
    return compiled(mapped, *placed)


if __name__ == "__main__":
    tyro.cli(main)
