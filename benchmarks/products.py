"""Programs that only compute the matrix products of training, and how many operations those are."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rpo_jax
from rpo_jax.compiling.matmul import product
from works import Work


def flops_per_step(work: Work, observation_size: int, action_size: int) -> int:
    """Floating point operations of the products for one step of one environment.

    Policy and value each have one forward pass while acting. In every epoch each has its forward products, as many for
    the gradients of its weights, and as many for those of its layers' inputs, the observation excepted.
    """
    first, second = observation_size * work.width, work.width * work.width
    policy, value = (first + second + work.width * outputs for outputs in (action_size, 1))
    forward = policy + value
    return 2 * (forward + work.num_epochs * (3 * forward - 2 * first))


def networks_and_observations(env: rpo_jax.Environment, work: Work, runs: int, num_envs: int) -> tuple[Any, jax.Array]:
    """Weights of policy and value, leaves [runs, ...], and observations [runs, T, N, O]."""
    size, width = env.observation_size, work.width
    random = np.random.default_rng(0)

    def weights(*sizes):
        shapes = itertools.pairwise(sizes)
        return [np.asarray(random.normal(size=(runs, *x)) / np.sqrt(x[0]), np.float32) for x in shapes]

    networks = [weights(size, width, width, outputs) for outputs in (env.action_size, 1)]
    obs = jax.random.normal(jax.random.key(0), (runs, work.num_steps, num_envs, size))
    return networks, obs


def products_of_a_round(work: Work, networks: Any, obs: jax.Array, whole: bool = False) -> Any:
    """The products of one round of training, of all the runs at once; with tanh between them and Adam if `whole`."""

    def network(weights: Any, x: Any) -> Any:
        for layer, matrix in enumerate(weights):
            if layer and whole:
                x = jnp.tanh(x)
            x = product(None, x, matrix)  # ours, since its gradients are the faster ones on a CPU
        return x

    def loss(networks, obs):
        return sum(jnp.square(network(weights, obs)).mean() for weights in networks)

    optimizer = optax.adam(1e-4) if whole else optax.sgd(1e-4)

    def minibatch(learner, obs):
        # Taking the step keeps each minibatch's products from being moved out of the loop.
        networks, opt_state = learner
        changes, opt_state = optimizer.update(jax.grad(loss)(networks, obs), opt_state)
        return (optax.apply_updates(networks, changes), opt_state), None

    def one(networks, obs):
        policy, value = networks
        actions, values = jax.lax.map(partial(network, policy), obs), network(value, obs)
        minibatches = obs.reshape(work.num_minibatches, -1, obs.shape[-1])
        learner = (networks, optimizer.init(networks))
        learned = jax.lax.fori_loop(
            0, work.num_epochs, lambda _, learner: jax.lax.scan(minibatch, learner, minibatches)[0], learner
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
