"""Learning: epochs of minibatches over the batch of one rollout."""

import math
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from rpo_jax.algorithm.agent import Agent, flatten, make_optimizer
from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.algorithm.divergence import fault_of, first_fault
from rpo_jax.algorithm.losses import LossNoise, minibatch_loss, standardize
from rpo_jax.algorithm.metrics import LOSS_METRICS, Metrics
from rpo_jax.algorithm.permutation import permutation
from rpo_jax.algorithm.perturbation import Noise
from rpo_jax.algorithm.sharing import WHOLE, Share
from rpo_jax.algorithm.types import Batch, Params, TrainingState
from rpo_jax.algorithm.weights import LARGE, join_small

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
    join = partial(join_small, large=math.inf if share.few_kernels else LARGE)
    weights, as_params = join(state.params)
    _, of_vector = flatten(state.params)  # the state keeps what the optimiser knows as vectors of all parameters
    rates = _learning_rates(config, state, hyperparams)
    rates = [rates] * len(weights) if hyperparams.value_learning_rate is None else join(rates)[0]
    optimizer = make_optimizer(hyperparams)

    def as_weights(vector):
        return join(of_vector(vector))[0] if len(weights) > 1 else [vector]

    def as_vector(weights):
        return flatten(as_params(weights))[0] if len(weights) > 1 else weights[0]

    # The optimiser's count of minibatches is told to each, and not carried: on a GPU, adding 1 would launch a kernel.
    count, moments = optax.tree.get(state.opt_state, "count"), optax.tree.set(state.opt_state, count=None)

    def loss(weights, batch, noise):
        return minibatch_loss(as_params(weights), agent, batch, noise, hyperparams)

    def constrain(weights):
        if agent.variant.constrain is None:
            return weights
        return join(agent.constrain(as_params(weights), hyperparams))[0]

    def minibatch(carry, inputs):
        weights, moments = carry
        count, indices, advantage, noise = inputs
        samples = take(rows, indices)._replace(advantage=advantage)
        grads, metrics = share.mean_of(partial(jax.grad(loss, has_aux=True), weights), (samples, noise))
        metrics["grad_norm"] = optax.tree.norm(grads)
        direction: Any
        direction, opt_state = optimizer.update(grads, optax.tree.set(moments, count=count))
        weights = constrain(jax.tree.map(lambda w, rate, d: w - rate * d, weights, rates, direction))
        metrics["fault"] = fault_of(
            loss=jnp.isfinite(metrics["policy_loss"] + metrics["value_loss"] + metrics["entropy"]),
            gradient=jnp.isfinite(metrics["grad_norm"]),
            parameters=jnp.array([jnp.isfinite(x).all() for x in weights]).all(),
        )
        return (weights, optax.tree.set(opt_state, count=None)), jnp.stack([metrics[name] for name in RESULTS])

    def epoch(carry):
        index, learner, sums, _, fault = carry
        key_shuffle, key_noise = keys[index]
        indices = shuffle(key_shuffle, config, share)
        advantages = take(rows.advantage, indices)
        if config.normalize_advantages == "minibatch":
            advantages = standardize(advantages, share, -1, config.bessel_correction)
        noise = draw_noise(agent, key_noise)
        counts = count + index * config.num_minibatches + jnp.arange(config.num_minibatches)
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
    start = (zero, (weights, jax.tree.map(as_weights, moments)), nothing, nothing - jnp.inf, zero)
    epochs, (weights, learned), sums, _, fault = jax.lax.while_loop(goes_on, epoch, start)
    metrics = dict(zip(LOSS_METRICS, sums / epochs, strict=True))
    metrics["epochs"] = epochs.astype(jnp.float32)
    moments = jax.tree.map(lambda _, now: as_vector(now), moments, learned)
    opt_state = optax.tree.set(moments, count=count + epochs * config.num_minibatches)
    params, update = as_params(weights), state.update + 1
    return state.replace(params=params, opt_state=opt_state, update=update, fault=fault), metrics


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


def _learning_rates(config: TrainConfig, state: TrainingState, hyperparams: Hyperparams) -> Params:
    """Returns the learning rate of each parameter in this update; one number [] if it is that of all."""
    left = (
        jnp.maximum(1.0 - state.update / config.num_updates, 0.0) if config.learning_rate_schedule == "linear" else 1.0
    )
    if hyperparams.value_learning_rate is None:
        return left * hyperparams.learning_rate
    rates = {"value": hyperparams.value_learning_rate}

    def rate(path: Any, leaf: jax.Array) -> jax.Array:
        return jnp.full(leaf.shape, left * rates.get(path[1].key, hyperparams.learning_rate))

    return jax.tree_util.tree_map_with_path(rate, state.params)
