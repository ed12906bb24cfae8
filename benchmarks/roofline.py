"""What is the most that this machine could do, and how near is training to it?

Two costs cannot be avoided: stepping the environments, and the matrix products of acting and learning. The rate of each
is measured by itself; were they all there is, that would be the limit.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import jax
import numpy as np
import tyro
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import rpo_jax
from study import save
from throughput import GPU_WORKS, WORKS, Work

HIDDEN = 64


def main(
    works: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    gpu: bool = False,
    updates: Annotated[int | None, tyro.conf.arg(help="rounds, to try the script out")] = None,
) -> None:
    """Writes `results/roofline.json` (with --gpu: `roofline_gpu.json`)."""
    if not gpu:
        rpo_jax.use_cpu_cores()
    table = GPU_WORKS if gpu else WORKS
    products = [
        {"rows": rows, "size": size, "flops_per_second": product_rate(rows, size)}
        for rows, size in ((4096, HIDDEN), (64, HIDDEN), (2048, 2048))
    ]
    runs = [limits(name, table[name], updates or table[name].updates) for name in works or table]
    if updates is None:
        save(f"roofline{'_gpu' if gpu else ''}", runs, products=products)


def limits(name: str, work: Work, updates: int) -> dict[str, Any]:
    """Rates of one work: stepping alone, products alone, both, and training."""
    samples = work.num_steps * work.num_envs // work.num_minibatches
    env = rpo_jax.make_env(work.env)
    flops = flops_per_step(work, env.observation_size, env.action_size)
    products = product_rate(samples, HIDDEN) / flops
    stepping = stepping_rate(env, work)
    training = training_rate(env, work, updates)
    limit = 1 / (1 / stepping + 1 / products)
    print(f"{name}: stepping {stepping:,.0f}, products {products:,.0f}, limit {limit:,.0f}, training {training:,.0f}")
    return {
        "work": name,
        "flops_per_step": flops,
        "stepping": stepping,
        "products": products,
        "limit": limit,
        "training": training,
    }


def flops_per_step(work: Work, observation_size: int, action_size: int) -> int:
    """Of the products for one environment step: acting, two values, and forward and backward in every epoch."""

    def forward(outputs: int) -> int:
        return 2 * (observation_size * HIDDEN + HIDDEN * HIDDEN + HIDDEN * outputs)

    policy, value = forward(action_size), forward(1)
    return policy + value + 3 * work.num_epochs * (policy + value)


def product_rate(rows: int, size: int) -> float:
    """Floating point operations per second of `[rows, size] x [size, size]`, on all devices at once."""
    flops = 2 * rows * size * size
    count = max(1, round(2e9 / flops))
    random = np.random.default_rng(0)
    a, b = (
        random.normal(size=(rows, size)),
        np.linalg.qr(random.normal(size=(size, size)))[0],
    )  # no chain of products grows or fades

    def chain(a, b):
        return jax.lax.fori_loop(0, count, lambda _, x: x @ b, a)

    seconds = timed(everywhere(chain), np.float32(a), np.float32(b))
    return flops * count * jax.device_count() / seconds


def stepping_rate(env: rpo_jax.Environment, work: Work) -> float:
    """Steps per second of the environments alone, with random actions, on all devices."""
    num_envs = max(1, work.seeds * work.num_envs // jax.device_count())
    length = 100

    def play(key):
        keys = jax.random.split(key, num_envs)
        state, _ = env.reset(keys)
        initial = env.draw(keys)
        actions = jax.random.uniform(key, (length, num_envs, env.action_size), minval=-1.0, maxval=1.0)

        def step(state, action):
            state, timestep = env.step(keys, state, action, initial)
            return state, timestep.reward.mean()

        return jax.lax.scan(step, state, actions)[1]

    return num_envs * length * jax.device_count() / timed(everywhere(play), jax.random.key(0))


def training_rate(env: rpo_jax.Environment, work: Work, updates: int) -> float:
    """Steps per second of whole training."""
    sizes = {name: getattr(work, name) for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches")}
    config = rpo_jax.TrainConfig(
        total_timesteps=updates * work.num_envs * work.num_steps,
        shuffle=work.shuffle,  # pyright: ignore[reportArgumentType]
        **sizes,
    )
    agent = rpo_jax.make_agent(env, rpo_jax.RPO, config)
    train = partial(rpo_jax.sweep, agent, rpo_jax.grid(), rpo_jax.seeds(0, work.seeds))
    return work.seeds * config.num_updates * config.round_timesteps / timed(train)


def everywhere(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same work on every device at once."""
    mesh = Mesh(jax.devices(), ("devices",))

    def one(*args):
        return jax.tree.map(lambda x: x[None], function(*args))

    mapped = jax.jit(
        jax.shard_map(one, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec("devices"), check_vma=False)
    )
    return lambda *args: mapped(*jax.device_put(args, NamedSharding(mesh, PartitionSpec())))


def timed(function: Callable[..., Any], *args: Any, runs: int = 5) -> float:
    """Least seconds of a call, compilation apart."""
    jax.block_until_ready(function(*args))
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        jax.block_until_ready(function(*args))
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    tyro.cli(main)
