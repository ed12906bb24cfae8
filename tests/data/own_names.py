"""Names of a user's own, as a module that `--import own_names` imports."""

import dataclasses

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import rpo_jax


def slide() -> rpo_jax.Environment:
    def init(key):
        position = jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0)
        return (position, 0), position

    def step(key, state, action):
        position, time = state[0] + 0.1 * action, state[1] + 1
        reward = -jnp.abs(position[0])
        return (position, time), rpo_jax.Successor(position, reward, jnp.bool_(False), time >= 50)

    return rpo_jax.vectorize(
        rpo_jax.Dynamics(init, step),
        name="slide",
        observation_size=1,
        low=np.array([-1.0], np.float32),
        high=np.array([1.0], np.float32),
        time_limit=50,
    )


def gaussian(key, shape):
    return jax.random.normal(key, shape)


class Shared(nn.Module):
    """One body for policy and value."""

    action_size: int

    def setup(self):
        self.body, self.loc, self.value = nn.Dense(8), nn.Dense(self.action_size), nn.Dense(1)
        self.log_scale = self.param("log_scale", nn.initializers.zeros, (self.action_size,))

    def act(self, obs):
        return self.loc(nn.tanh(self.body(obs))), self.log_scale

    def evaluate(self, obs):
        return self.value(nn.tanh(self.body(obs)))[..., 0]


rpo_jax.register("environment", "mine/slide", slide)
rpo_jax.register("variant", "gaussian", dataclasses.replace(rpo_jax.RPO, noise=gaussian))
rpo_jax.register("head", "logistic", rpo_jax.Head(distrax.Logistic))
rpo_jax.register("network", "one-body", lambda env, config: Shared(env.action_size))
