"""What is the most that this machine could do, and how near is training to it?

Two costs cannot be avoided: stepping the environments, and the matrix products of acting and learning. Each is measured
by itself, on all devices at once; were they all there is, one after the other, that would be the limit.

Stepping alone: random actions, from states made beforehand, in one block (all the environments of a device step
together), in the blocks that training uses where it finds a cache to fill, and by plain `jax.vmap` of the suite.
Products alone: a round of training by networks without activations, biases, loss or optimiser, at training's own
shapes. Beside them, the rate of plain products of one shape: `[rows of a minibatch, 64] x [64, 64]`, and two square
matrices of 2048.
"""

import dataclasses
import itertools
import json
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console

import rpo_jax
from rpo_jax.compiling.jit import compile_traced
from rpo_jax.compiling.matmul import product
from rpo_jax.envs.suites import brax, gymnax
from rpo_jax.execution.devices import spread_runs
from study import RESULTS, command, machine, write
from throughput import GPU_WORKS, WORKS, Work, check_known

HIDDEN = 64
LARGE = 2048
SECONDS = 1.0  # of one measurement, at least
TURNS = 5


def main(
    works: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    gpu: bool = False,
    updates: Annotated[int | None, tyro.conf.arg(help="rounds, to try the script out")] = None,
) -> None:
    """Writes `results/roofline.json` (with --gpu: `roofline_gpu.json`)."""
    table, path = GPU_WORKS if gpu else WORKS, RESULTS / f"roofline{'_gpu' if gpu else ''}.json"
    check_known("work", works, table)
    runs = {run["work"]: run for run in json.loads(path.read_text())["runs"]} if path.exists() else {}
    for name in works or table:
        work = table[name] if updates is None else dataclasses.replace(table[name], updates=updates)
        runs[name] = {"work": name, "command": command(), "machine": machine(), **limits(work)}
        Console(stderr=True).print(runs[name])
        if updates is None:
            write(path.stem, list(runs.values()))


def limits(work: Work) -> dict[str, Any]:
    """Steps per second of one work: stepping alone, products alone, the limit they set, and training; medians."""
    agent, env = agent_of(work), rpo_jax.make_env(work.env)
    load = load_of(work, agent)
    shapes = {"own": (load.rows, HIDDEN), "large": (LARGE, LARGE)}
    step = partial(stepping, env, load.envs, work.num_steps)
    calls = {
        "training": partial(rpo_jax.sweep, agent, rpo_jax.grid(), rpo_jax.seeds(0, work.seeds)),
        "products": everywhere(partial(products_of_a_round, work), *networks_and_observations(work, agent, load)),
        **{f"stepping, {n}": everywhere(*step(n)) for n in {1, load.blocks}},
        "stepping by vmap": everywhere(*stepping_by_vmap(env, load.envs, work.num_steps)),
        **{name: everywhere(chain_of_products, *factors(*shape)) for name, shape in shapes.items()},
    }
    seconds = seconds_in_turns(calls)
    devices = jax.device_count()
    flops = flops_per_step(work, env.observation_size, env.action_size)
    steps = {n: devices * load.envs * work.num_steps / seconds[f"stepping, {n}"] for n in (1, load.blocks)}
    by_vmap = devices * load.envs * work.num_steps / seconds["stepping by vmap"]
    products = devices * load.runs * load.envs_of_a_run * work.num_steps / seconds["products"]
    return {
        "flops_per_step": flops,
        "blocks": load.blocks,
        "stepping_by_vmap": round(by_vmap),
        "stepping_in_one_block": round(steps[1]),
        "stepping_in_blocks": round(steps[load.blocks]),
        "products": round(products),
        "limit": round(1 / (1 / max(by_vmap, *steps.values()) + 1 / products)),
        "training": round(work.timesteps / seconds["training"]),
        "rows": load.rows,
        "flops_per_second": {
            "of_a_round": products * flops,
            **{name: devices * flops_of_chain(*shape) / seconds[name] for name, shape in shapes.items()},
        },
    }


def agent_of(work: Work) -> rpo_jax.Agent:
    """What a work trains."""
    sizes = ("num_envs", "num_steps", "num_epochs", "num_minibatches", "shuffle")
    config = rpo_jax.TrainConfig(
        total_timesteps=work.updates * work.num_envs * work.num_steps, **{name: getattr(work, name) for name in sizes}
    )
    return rpo_jax.make_agent(rpo_jax.make_env(work.env), rpo_jax.RPO, config)


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


def flops_per_step(work: Work, observation_size: int, action_size: int) -> int:
    """Floating point operations of the products for one step of one environment.

    One acts, one values; and in every epoch each network has its forward products, as many for the gradients of its
    weights, and as many for those of its layers' inputs, the observation excepted.
    """
    first, second = observation_size * HIDDEN, HIDDEN * HIDDEN
    policy, value = (first + second + HIDDEN * outputs for outputs in (action_size, 1))
    forward = policy + value
    return 2 * (forward + work.num_epochs * (3 * forward - 2 * first))


def networks_and_observations(work: Work, agent: rpo_jax.Agent, load: Load) -> tuple[Any, jax.Array]:
    """Weights of policy and value, and observations [T, N, O], of the runs a device takes at once."""
    size = agent.env.observation_size
    random = np.random.default_rng(0)

    def weights(*sizes):
        shapes = itertools.pairwise(sizes)
        return [np.asarray(random.normal(size=(load.runs, *x)) / np.sqrt(x[0]), np.float32) for x in shapes]

    networks = [weights(size, HIDDEN, HIDDEN, outputs) for outputs in (agent.env.action_size, 1)]
    obs = jax.random.normal(jax.random.key(0), (load.runs, work.num_steps, load.envs_of_a_run, size))
    return networks, obs


def products_of_a_round(work: Work, networks: Any, obs: jax.Array) -> Any:
    """The products of one round of training, of all the runs at once."""

    def network(weights, x):
        for matrix in weights:
            x = product(None, x, matrix)  # ours, since its gradients are the faster ones on a CPU
        return x

    def loss(networks, obs):
        return sum(jnp.square(network(weights, obs)).mean() for weights in networks)

    def minibatch(networks, obs):
        # Taking the step keeps each minibatch's products from being moved out of the loop.
        gradients = jax.grad(loss)(networks, obs)
        return jax.tree.map(lambda weight, gradient: weight - 1e-4 * gradient, networks, gradients), None

    def one(networks, obs):
        policy, value = networks
        actions, values = jax.lax.map(partial(network, policy), obs), network(value, obs)
        minibatches = obs.reshape(work.num_minibatches, -1, obs.shape[-1])
        learned = jax.lax.fori_loop(
            0, work.num_epochs, lambda _, networks: jax.lax.scan(minibatch, networks, minibatches)[0], networks
        )
        return actions, values, learned

    return jax.vmap(one)(networks, obs)


def factors(rows: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrices [rows, size] and [size, size], of which no chain of products grows or fades."""
    random = np.random.default_rng(0)
    orthogonal = np.linalg.qr(random.normal(size=(size, size)))[0]
    return np.asarray(random.normal(size=(rows, size)), np.float32), np.asarray(orthogonal, np.float32)


def chain_of_products(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """Products of one shape, one after another."""
    return jax.lax.fori_loop(0, _links(*x.shape), lambda _, x: x @ matrix, x)


def flops_of_chain(rows: int, size: int) -> int:
    """Floating point operations of a chain."""
    return _links(rows, size) * 2 * rows * size * size


def _links(rows: int, size: int) -> int:
    return max(4, round(1e10 / (2 * rows * size * size)))


def stepping(env: rpo_jax.Environment, num_envs: int, num_steps: int, num_blocks: int) -> tuple[Any, ...]:
    """A function that only steps environments, one block after another, and its arguments."""
    size = num_envs // num_blocks
    keys = jax.random.split(jax.random.key(0), (num_blocks, size))
    initial = jax.jit(jax.vmap(env.reset))(keys)
    actions = jax.random.uniform(
        keys[0, 0], (num_blocks, num_steps, size, env.action_size), minval=env.low, maxval=env.high
    )

    def play(initial, keys, actions):
        def step(state, action):
            state, timestep = env.step(keys, state, action, initial)
            return state, timestep.obs.mean() + timestep.reward.mean()  # both have to be computed

        return jax.lax.scan(step, initial[0], actions)

    return (lambda *blocks: jax.lax.map(lambda block: play(*block), blocks)), initial, keys, actions


def stepping_by_vmap(env: rpo_jax.Environment, num_envs: int, num_steps: int) -> tuple[Any, ...]:
    """The same by `jax.vmap` of the suite's own functions, with the environments first."""
    suite, _, name = env.name.partition("/")
    module = {"brax": brax, "gymnax": gymnax}[suite]
    with mock.patch.object(module, "vectorize", lambda dynamics, **attributes: dynamics):
        dynamics: Any = module.make(name)
    keys = jax.random.split(jax.random.key(0), num_envs)
    initial, _ = jax.jit(jax.vmap(dynamics.init))(keys)
    actions = jax.random.uniform(keys[0], (num_steps, num_envs, env.action_size), minval=env.low, maxval=env.high)

    def play(initial, keys, actions):
        def step_or_begin(key, state, action, begun):
            state, successor = dynamics.step(key, state, action)
            ended = successor.terminated | successor.truncated
            return jax.tree.map(lambda x, y: jnp.where(ended, x, y), begun, state), successor

        def step(state, action):
            state, successor = jax.vmap(step_or_begin)(keys, state, action, initial)
            return state, successor.obs.mean() + successor.reward.mean()

        return jax.lax.scan(step, initial, actions)

    return play, initial, keys, actions


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


def compiled(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """A call of a function, compiled as training is."""
    return partial(compile_traced(jax.jit(function).trace(*args), jax.default_backend()), *args)


def seconds_in_turns(calls: Mapping[str, Callable[[], Any]], turns: int = TURNS) -> dict[str, float]:
    """Median seconds of each call, compilation apart. They take turns, so that a slow minute is everyone's."""
    for call in calls.values():
        jax.block_until_ready(call())
    measured = [{name: _seconds(call) for name, call in calls.items()} for _ in range(turns)]
    return {name: statistics.median(turn[name] for turn in measured) for name in calls}


def _seconds(call: Callable[[], Any]) -> float:
    """Seconds of a call: a mean over as many as take a while."""
    count, began = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - began < SECONDS:
        jax.block_until_ready(call())
        count += 1
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    tyro.cli(main)
