"""Rejax: its PPO, vmapped over seeds, without evaluation."""

import warnings

import jax
from worker import serve


def make(work):
    """One call trains every seed."""
    train = make_training(work)
    keys = jax.random.split(jax.random.key(0), work["seeds"])
    return lambda: jax.block_until_ready(train(keys))


def make_training(work):
    """The compiled function that trains one run for each of its keys."""
    warnings.simplefilter("ignore")
    from rejax import PPO

    suite, name = work["env"].split("/")
    env = f"brax/{name}" if suite == "brax" else name
    timesteps = work["updates"] * work["num_envs"] * work["num_steps"]
    sizes = {name: work[name] for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches")}
    ppo = PPO.create(
        env=env,
        env_params={"backend": "spring"} if suite == "brax" else {},
        total_timesteps=timesteps,
        eval_freq=timesteps,
        skip_initial_evaluation=True,
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (work["width"],) * 2},
        normalize_observations=True,
        normalize_rewards=True,
        learning_rate=3e-4,
        max_grad_norm=0.5,
        ent_coef=0.0,
        **sizes,
    ).replace(eval_callback=lambda *_: ())
    return jax.jit(jax.vmap(ppo.train))


if __name__ == "__main__":
    serve(make, "rejax", "gymnax", "brax")
