"""Run by test_devices.py in a process of its own, which has eight CPU devices: the same runs on one, two and eight."""

import dataclasses
import re
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import toys
from test_variants_learn import ENV, SMALL

import rpo_jax
from rpo_jax.algorithm.sharing import Share
from rpo_jax.envs.wrappers import suite_state
from rpo_jax.execution import division
from rpo_jax.execution.memory import fit_in_memory
from rpo_jax.execution.segments import compile_segment
from rpo_jax.execution.sweep import as_runs
from rpo_jax.settings.presets import get_preset, override

# By name: runs, and settings. The last steps environments in many blocks, through two windows of new episodes, and
# takes gradients of many chunks.
CASES = {
    "three runs": (3, {"shuffle": "samples"}),
    "blocks and windows": (1, {"shuffle": "environments", "num_steps": 64, "reset_every_round": True}),
    "three runs on the host": (3, {"shuffle": "environments", "reset_every_round": True}),
    # Arrays of more than `MOST_BYTES`, that `callbacks` cuts into pieces.
    "many on the host": (1, {"shuffle": "samples", "num_envs": 2**15, "num_steps": 2, "num_epochs": 1}),
}
TWICE = ("three runs",)  # on two devices too, where no run is shared; on eight, two or eight devices share one
SETTINGS = rpo_jax.grid(rpo_alpha=[0.3], learning_rate=[3e-3])


def evaluated(agent, policies, num_episodes: int) -> jax.Array:
    """Returns [S, episodes] of policies that are spread over devices."""
    keys = jax.random.split(jax.random.key(9), len(jax.tree.leaves(policies)[0][0]))
    play = partial(rpo_jax.evaluate, agent, num_episodes=num_episodes)
    return jax.vmap(play)(jax.tree.map(lambda x: x[0], policies), keys)


def keeping_its_key(own: bool = True) -> rpo_jax.Environment:
    """Its state holds a random key, as Playground's do; its `own` implementation draws otherwise in other batches."""

    def init(key):
        bits = jax.random.key_data(key)
        kept = jax.random.wrap_key_data(jnp.concatenate([bits, bits]), impl="rbg") if own else key
        return (kept, 0), jnp.ones(2)

    def step(_, state, action):
        key, time = jax.random.split(state[0])[0], state[1] + 1
        return (key, time), rpo_jax.Successor(jax.random.normal(key, (2,)), action[0], jnp.array(False), time >= 7)

    dynamics = rpo_jax.Dynamics(init, step)
    return rpo_jax.vectorize(dynamics, name="toy/key", observation_size=2, **toys.bounds(-1.0, 1.0), time_limit=7)


def stopped_and_resumed() -> dict[str, np.ndarray]:
    """Metrics of one run that is shared by devices, stopped after two updates, and of the same run without a stop.

    And what the devices exchange.
    """

    def stop(progress):
        if progress.updates >= 2:
            signal.raise_signal(signal.SIGINT)

    agent = toys.tiny_agent(rpo_jax.RPO, keeping_its_key(), updates=6, num_envs=16)
    run = SETTINGS, rpo_jax.seeds(0, 1)
    with tempfile.TemporaryDirectory() as folder:
        rpo_jax.fit(agent, *run, stop, checkpoints=rpo_jax.Checkpoints(Path(folder)))
        resumed = rpo_jax.fit(agent, *run, checkpoints=rpo_jax.Checkpoints(Path(folder)))
    assert resumed.resumed_from
    whole = rpo_jax.fit(agent, *run)
    metrics = {
        f"{name} {metric}": values
        for name, result in (("resumed", resumed), ("whole", whole))
        for metric, values in result.metrics.items()
    }
    return metrics | {"exchanges of 1": exchanges(agent, 1)}


def returns_on_pendulum() -> np.ndarray:
    """Returns [U] of one run, whose environments two devices share; as in test_variants_learn.py."""
    preset = override(get_preset("fast", ENV), SMALL)
    agent = rpo_jax.make_agent(rpo_jax.make_env(ENV), rpo_jax.RPO, preset.config)
    _, metrics = rpo_jax.sweep(agent, preset.hyperparams, rpo_jax.seeds(0, 1), devices=jax.devices()[:2])
    return np.asarray(metrics["episode_return"])[0, 0]


def exchanges(agent, runs: int) -> np.ndarray:
    """The kinds of what devices exchange, in the program that trains so many runs, one for each place in it."""
    compile_for = partial(compile_segment, as_runs(SETTINGS, rpo_jax.seeds(0, runs)))
    _, program = fit_in_memory(agent, runs, None, None, compile_for)
    kinds = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute"
    found = re.findall(rf"\] ?(?:\{{[\d,]*\}} )?({kinds})(?:-start)?\(", program.as_text() or "")
    return np.array(found, "U20")


def main(path: str) -> None:
    """Writes `{case}/{devices}/{what}` of every layout to an npz file."""
    division.ENOUGH = 1  # such small runs would be divided among no devices
    rpo_jax.use_cpu_cores(8)
    results = {}
    for case, (runs, settings) in CASES.items():
        env = toys.host_env() if "on the host" in case else toys.reaching_env()
        agent = toys.tiny_agent(rpo_jax.RPO, env, updates=3, **{"num_envs": 16, **settings})
        if case == "blocks and windows":
            agent = dataclasses.replace(agent, share=Share(cache_bytes=32, chunk_size=16))
        for count in (1, 2, 8) if case in TWICE else (1, 8):
            keys, chosen = rpo_jax.seeds(0, runs), jax.devices()[:count]
            if settings["shuffle"] == "samples":
                state, metrics = rpo_jax.sweep(agent, SETTINGS, keys, devices=chosen)
            else:
                state, metrics, *_ = rpo_jax.fit(agent, SETTINGS, keys, devices=chosen)
            more = {}
            if agent.env.on_host:  # the numbers of pools tell devices apart
                state = state.replace(env_state=(suite_state(state.env_state).seed, *state.env_state[1:]))
                if case == "many on the host":
                    more["evaluation"] = evaluated(agent, state.policy, num_episodes=agent.config.num_envs)
            leaves = {
                "params": np.concatenate([x.reshape(runs, -1) for x in jax.tree.leaves(state.params)], -1),
                "obs": state.obs,
                **{f"env_state {n}": leaf for n, leaf in enumerate(jax.tree.leaves(state.env_state))},
                "moments": state.obs_moments.variance,
                **metrics,
                **more,
            }
            results |= {f"{case}/{count}/{name}": np.asarray(x) for name, x in leaves.items()}
    results |= stopped_and_resumed()
    results["returns on Pendulum"] = returns_on_pendulum()
    results["exchanges of 8"] = exchanges(toys.tiny_agent(rpo_jax.RPO, toys.reaching_env(), num_envs=16), runs=8)
    np.savez(path, **results)


if __name__ == "__main__":
    with toys.compiled_with(toys.QUICK):
        main(sys.argv[1])
