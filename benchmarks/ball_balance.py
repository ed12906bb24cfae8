"""A ball on a plate that two servos tilt: BallBalance, in place of IsaacGym's, as an environment of one's own.

A solid ball rolls without slipping on a plate whose x and y axes are tilted by small angles `a` and `b`, at rates `a'`
and `b'`. By Lagrange's equations, with the ball's moment of inertia of 2/5 of its mass times its radius squared:

    x'' = 5/7 (x a'^2 + y a' b' - g sin a)
    y'' = 5/7 (y b'^2 + x a' b' - g sin b)

The ball does not move the plate. Each servo is a critically damped oscillator that follows the angle `c` it is told:

    a'' = w^2 (c - a) - 2 w a'

Lengths are in m, angles in rad, times in s. The plate is round; its radius, `RADIUS`, is where the task ends.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax import Dynamics, Environment, Successor, register, vectorize

NAME = "own/BallBalance"
GRAVITY = 9.81  # m/s^2
RADIUS = 0.3  # m
MAX_TILT = 0.2  # rad, what an action of 1 tells a servo
SERVO = 20.0  # 1/s, the servos' angular frequency w
STEP, SUBSTEPS = 0.02, 4  # s of an action, and into how many parts it is integrated
TIME_LIMIT = 500


class State(NamedTuple):
    """Ball and plate.

    Attributes:
        position: of the ball, x and y, in m [2].
        velocity: of the ball, in m/s [2].
        tilt: of the plate's axes, a and b, in rad [2].
        rate: of the tilt, in rad/s [2].
        time: number of steps [].
    """

    position: jax.Array
    velocity: jax.Array
    tilt: jax.Array
    rate: jax.Array
    time: jax.Array

    @property
    def obs(self) -> jax.Array:
        """Position, velocity, tilt and its rate [8]."""
        return jnp.concatenate([self.position, self.velocity, self.tilt, self.rate])


def make() -> Environment:
    """Makes the environment: two actions in [-1, 1], shares of `MAX_TILT`; rewards in [0, 1]."""
    return vectorize(
        Dynamics(init, step),
        name=NAME,
        observation_size=8,
        low=-np.ones(2),
        high=np.ones(2),
        time_limit=TIME_LIMIT,
    )


def init(key: jax.Array) -> tuple[State, jax.Array]:
    """A slowly moving ball, up to half a radius from the centre in x and in y, on a level plate at rest."""
    position, velocity = jax.random.uniform(key, (2, 2), minval=-1.0, maxval=1.0)
    state = State(0.5 * RADIUS * position, 0.2 * velocity, jnp.zeros(2), jnp.zeros(2), jnp.zeros((), jnp.int32))
    return state, state.obs


def step(key: jax.Array, state: State, action: jax.Array) -> tuple[State, Successor]:
    """One step; the reward falls from 1 at the centre to 0 at the edge, where the task ends."""
    for _ in range(SUBSTEPS):
        state = integrate(state, MAX_TILT * action, STEP / SUBSTEPS)
    state = state._replace(time=state.time + 1)
    distance = jnp.sqrt(jnp.sum(state.position**2)) / RADIUS
    reward = jnp.maximum(1.0 - distance, 0.0)
    return state, Successor(state.obs, reward, distance > 1.0, state.time >= TIME_LIMIT)


def integrate(state: State, wanted: jax.Array, dt: float) -> State:
    """Ball and plate `dt` later; positions and tilts advance by the mean of the rates before and after.

    Args:
        state: before.
        wanted: tilt that the servos are told, in rad [2].
        dt: in s.
    """
    position, velocity, tilt, rate, time = state
    turning = rate * jnp.sum(rate * position)
    acceleration = 5 / 7 * (turning - GRAVITY * jnp.sin(tilt))
    rolled = velocity + dt * acceleration
    turned = rate + dt * (SERVO**2 * (wanted - tilt) - 2 * SERVO * rate)
    return State(position + dt * (velocity + rolled) / 2, rolled, tilt + dt * (rate + turned) / 2, turned, time)


register("environment", NAME, make)
