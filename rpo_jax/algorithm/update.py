"""Learning: epochs of minibatches over the batch of one rollout."""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.algorithm.divergence import fault_of, first_fault
from rpo_jax.algorithm.losses import LossNoise, minibatch_loss, standardize
from rpo_jax.algorithm.metrics import LOSS_METRICS, Metrics
from rpo_jax.algorithm.optimization import Optimization
from rpo_jax.algorithm.permutation import permutation
from rpo_jax.algorithm.perturbation import Noise
from rpo_jax.algorithm.sharing import WHOLE, Share
from rpo_jax.algorithm.types import Batch, TrainingState

RESULTS = (*LOSS_METRICS, "fault")  # of each minibatch: one array, since on a GPU each that is kept launches a kernel

Tree = TypeVar("Tree")


def update_policy(
    agent: Agent, state: TrainingState, batch: Batch, key: jax.Array, hyperparams: Hyperparams
) -> tuple[TrainingState, Metrics]:
    """Improves policy and value for up to `num_epochs` epochs; stops after an epoch whose mean KL exceeds `target_kl`.

    Args:
        agent: static part of the run, from `make_agent`.
        state: training state, whose parameters and optimiser state are used.
        batch: samples [T, N, ...].
        key: random key of the shuffles and the perturbations.
        hyperparams: hyperparameters of one run, scalars [].

    Returns:
        The state with new parameters and the fault of this update, and metrics [], averaged over all minibatches.
    """
    config, share = agent.config, agent.share
    rows = rows_of(share.gather(batch, axis=1), config)
    samples_of = taker(rows._replace(advantage=None), share.joined_rows)
    optimization = Optimization(agent, state, hyperparams)

    def loss(weights, batch, noise):
        return minibatch_loss(optimization.as_params(weights), agent, batch, noise, hyperparams)

    def minibatch(learner, inputs):
        count, indices, advantage, noise = inputs
        samples = samples_of(indices)._replace(advantage=advantage)
        gradients_of = partial(jax.grad(loss, has_aux=True), learner.weights)
        gradients, metrics = share.mean_of(gradients_of, (samples, noise))
        metrics["grad_norm"] = optax.tree.norm(gradients)
        learner = optimization.step(learner, gradients, count)
        metrics["fault"] = fault_of(
            loss=jnp.isfinite(metrics["policy_loss"] + metrics["value_loss"] + metrics["entropy"]),
            gradient=jnp.isfinite(metrics["grad_norm"]),
            parameters=jnp.array([jnp.isfinite(x).all() for x in learner.weights]).all(),
        )
        return learner, jnp.stack([metrics[name] for name in RESULTS])

    def epoch(carry):
        index, learner, sums, _, fault = carry
        key_shuffle, key_noise = keys[index]
        indices = shuffle(key_shuffle, config, share)
        advantages = take(rows.advantage, indices)
        if config.normalize_advantages == "minibatch":
            advantages = standardize(advantages, share, -1, config.bessel_correction)
        noise = draw_noise(agent, key_noise)
        counts = optimization.count + index * config.num_minibatches + jnp.arange(config.num_minibatches)
        learner, of_minibatches = jax.lax.scan(minibatch, learner, (counts, indices, advantages, noise))
        means = of_minibatches[:, : len(LOSS_METRICS)].mean(0)
        fault = jnp.where(fault > 0, fault, first_fault(of_minibatches[:, -1]))
        return index + 1, learner, sums + means, means, fault

    def goes_on(carry):
        index, _, _, means, _ = carry
        return (index < config.num_epochs) & (means[RESULTS.index("approx_kl")] <= hyperparams.target_kl)

    zero = 0 * state.update  # of each run: what becomes so in a loop makes JAX trace the loop again under vmap
    nothing = jnp.zeros(len(LOSS_METRICS)) + zero
    keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(key, index)))(jnp.arange(config.num_epochs))
    start = (zero, optimization.begin(), nothing, nothing - jnp.inf, zero)
    epochs, learner, sums, _, fault = jax.lax.while_loop(goes_on, epoch, start)
    metrics = dict(zip(LOSS_METRICS, sums / epochs, strict=True))
    metrics["epochs"] = epochs.astype(jnp.float32)
    params, opt_state = optimization.finish(learner, epochs * config.num_minibatches)
    return state.replace(params=params, opt_state=opt_state, update=state.update + 1, fault=fault), metrics


def rows_of(batch: Tree, config: TrainConfig) -> Tree:
    """Returns a `batch` [T, N, ...] as rows whose samples stay together in a shuffle by `config`: [R, K, ...].

    They are environments [N, T, ...] or single samples [T*N, 1, ...].
    """

    def rows(x: jax.Array) -> jax.Array:
        return jnp.moveaxis(x, 1, 0) if config.shuffle == "environments" else x.reshape((-1, 1, *x.shape[2:]))

    return jax.tree.map(rows, batch)


def shuffle(key: jax.Array, config: TrainConfig, share: Share = WHOLE) -> jax.Array:
    """Divides the rows of a batch into shuffled minibatches.

    "samples" permutes all T*N samples. "environments" permutes the N environments, so that a minibatch holds all T
    steps of N/M of them. This is faster, because longer rows are moved, but samples of a minibatch are correlated.

    Args:
        key: random key.
        config: static settings.
        share: part of the environments that this device steps.

    Returns:
        The rows of this device's part of each minibatch [M, R].
    """
    size = config.num_envs if config.shuffle == "environments" else config.round_timesteps
    return share.part(permutation(key, size).reshape((config.num_minibatches, -1)), axis=1)


def take(rows: Tree, indices: jax.Array) -> Tree:
    """Returns the samples of some `rows`, leaves [R, K, ...], by `indices` [..., r], leaves [..., r * K, ...]."""
    shape = indices.shape[:-1]
    return jax.tree.map(lambda x: x[indices].reshape((*shape, -1, *x.shape[2:])), rows)


def taker(rows: Tree, joined: bool) -> Callable[[jax.Array], Tree]:
    """Returns a function of indices [r] that takes samples of `rows` as `take` does.

    If `joined`, it takes them of one array [R, F], whose rows hold those of all leaves.
    """
    if not joined:
        return partial(take, rows)
    _, as_row = ravel_pytree(jax.tree.map(lambda x: x[0], rows))
    flat = jax.vmap(lambda row: ravel_pytree(row)[0])(rows)

    def take_joined(indices: jax.Array) -> Tree:
        return jax.tree.map(lambda x: x.reshape((-1, *x.shape[2:])), jax.vmap(as_row)(flat[indices]))

    return take_joined


def draw_noise(agent: Agent, key: jax.Array) -> LossNoise:
    """Draws the noise of an `agent` for the minibatches of an epoch by `key`, leaves [M, B, ...]."""
    variant, env = agent.variant, agent.env
    return LossNoise(
        location=_draw(agent, variant.noise, key, env.action_size) if variant.width else None,
        obs=_draw(agent, variant.augment_noise, jax.random.fold_in(key, 1), env.observation_size)
        if variant.augment
        else None,
    )


def _draw(agent: Agent, noise: Noise, key: jax.Array, size: int) -> jax.Array:
    """Draws noise [M, B, size]. Each group of samples has its own key and belongs to one device."""
    config = agent.config
    samples = config.round_timesteps // config.num_minibatches
    if config.shuffle == "environments":
        groups = config.num_envs // config.num_minibatches
    else:
        groups = math.gcd(config.num_envs, samples)
    keys = agent.share.part(jax.random.split(key, (config.num_minibatches, groups)), axis=1)

    def draw(key: jax.Array) -> jax.Array:
        return noise(key, (samples // groups, size))

    return jax.vmap(jax.vmap(draw))(keys).reshape((config.num_minibatches, -1, size))
