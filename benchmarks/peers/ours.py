"""rpo_jax: RPO by `sweep`, as a user calls it."""

import jax
from worker import serve

import rpo_jax


def make(work):
    """One call trains every seed."""
    rpo_jax.use_cpu_cores()
    sizes = {name: work[name] for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "shuffle")}
    sizes["hidden_sizes"] = (work["width"],) * 2
    timesteps = work["updates"] * work["num_envs"] * work["num_steps"]
    agent = rpo_jax.make_agent(
        rpo_jax.make_env(work["env"]), rpo_jax.RPO, rpo_jax.TrainConfig(total_timesteps=timesteps, **sizes)
    )
    keys = rpo_jax.seeds(0, work["seeds"])
    return lambda: jax.block_until_ready(rpo_jax.sweep(agent, rpo_jax.grid(), keys))


if __name__ == "__main__":
    serve(make, "rpo_jax", "gymnax", "brax")
