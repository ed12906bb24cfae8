"""Run by test_devices.py in a process of its own, which has eight CPU devices: the same runs on one, two and eight."""

import sys

import jax
import numpy as np
import toys

import rpo_jax

CASES = [("samples", 3), ("environments", 1), ("samples", 1)]
SETTINGS = rpo_jax.grid(rpo_alpha=[0.3], learning_rate=[3e-3])


def main(path: str) -> None:
    """Writes `{shuffle}/{runs}/{devices}/{what}` of every layout to an npz file."""
    rpo_jax.use_cpu_cores(8)
    results = {}
    for shuffle, runs in CASES:
        agent = toys.tiny_agent(
            rpo_jax.RPO, toys.reaching_env(), updates=3, num_envs=16, num_minibatches=2, shuffle=shuffle
        )
        for count in (1, 2, 8):
            keys, devices = rpo_jax.seeds(0, runs), jax.devices()[:count]
            if shuffle == "samples":
                state, metrics = rpo_jax.sweep(agent, SETTINGS, keys, devices=devices)
            else:
                state, metrics, *_ = rpo_jax.fit(agent, SETTINGS, keys, devices=devices)
            leaves = {
                "params": np.concatenate([x.reshape(runs, -1) for x in jax.tree.leaves(state.params)], -1),
                "obs": state.obs,
                "env_state": jax.tree.leaves(state.env_state)[0],
                "moments": state.obs_moments.variance,
                **metrics,
            }
            results |= {f"{shuffle}/{runs}/{count}/{name}": np.asarray(x) for name, x in leaves.items()}
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
