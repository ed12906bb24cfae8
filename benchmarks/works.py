"""The training jobs whose speed is measured."""

import dataclasses

import rpo_jax


@dataclasses.dataclass(frozen=True)
class Work:
    """One training job: `updates` rounds of each of `seeds` runs, by networks of two layers of `width` units."""

    env: str
    seeds: int
    num_envs: int
    num_steps: int
    num_epochs: int
    num_minibatches: int
    updates: int
    shuffle: str = "environments"
    width: int = 64

    @property
    def timesteps(self) -> int:
        """Environment steps of all runs."""
        return self.seeds * self.num_envs * self.num_steps * self.updates


PENDULUM = "gymnax/Pendulum-v1"
WORKS = {
    "pendulum": Work(PENDULUM, 1, 1024, 32, 4, 8, 60),
    "pendulum-8-seeds": Work(PENDULUM, 8, 64, 128, 4, 8, 30),
    "pendulum-paper": Work(PENDULUM, 10, 1, 2048, 10, 32, 30, shuffle="samples"),
    "hopper": Work("brax/hopper", 1, 1024, 16, 4, 8, 20),
    "ant": Work("brax/ant", 1, 1024, 16, 4, 8, 10),
    "pendulum-128": Work(PENDULUM, 1, 1024, 32, 4, 8, 30, width=128),
    "hopper-256": Work("brax/hopper", 1, 1024, 16, 4, 8, 10, width=256),
}
# Seeds, environments, steps of a round, and rounds by networks of 64 units; wider ones have fewer, but enough that the
# initialisation of the networks is little beside them.
SHAPES = {
    "16-envs": (1, 16, 128, 160),
    "1024-envs": (1, 1024, 32, 16),
    "4096-envs": (1, 4096, 8, 16),
    "8-seeds": (8, 64, 32, 32),
}
WIDTHS = (32, 64, 128, 256, 512)
WIDTH_WORKS = {
    f"pendulum-{shape}-width-{width}": Work(
        PENDULUM, seeds, num_envs, num_steps, 4, 8, max(4, round(updates * (64 / width) ** 2)), width=width
    )
    for shape, (seeds, num_envs, num_steps, updates) in SHAPES.items()
    for width in WIDTHS
}
GPU_WORKS = {
    f"{env.partition('/')[2]}-{seeds}-seeds": Work(env, seeds, 4096, steps, 4, 8, updates)
    for seeds, updates in ((1, 50), (16, 20), (256, 4))
    for env, steps in ((PENDULUM, 32), ("brax/hopper", 16), ("brax/ant", 16))
}


def agent_of(work: Work) -> "rpo_jax.Agent":
    """The agent that a work trains; starts JAX."""
    sizes = ("num_envs", "num_steps", "num_epochs", "num_minibatches", "shuffle")
    config = rpo_jax.TrainConfig(
        total_timesteps=work.updates * work.num_envs * work.num_steps,
        hidden_sizes=(work.width, work.width),
        **{name: getattr(work, name) for name in sizes},
    )
    return rpo_jax.make_agent(rpo_jax.make_env(work.env), rpo_jax.RPO, config)
