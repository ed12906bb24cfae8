"""Learning: epochs of minibatches over one round's batch."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rpo_jax.agent import Agent, make_optimizer
from rpo_jax.config import Hyperparams, Scalar, TrainConfig
from rpo_jax.losses import rpo_loss
from rpo_jax.metrics import LOSS_METRICS, Metrics
from rpo_jax.types import Batch, Params, TrainingState


def update_policy(
    agent: Agent, state: TrainingState, batch: Batch, key: jax.Array, hyperparams: Hyperparams
) -> tuple[TrainingState, Metrics]:
    """Improves policy and value for up to `num_epochs` epochs; none follows one whose mean KL exceeds `target_kl`.

    Args:
        agent: the static part.
        state: parameters and optimiser state are used.
        batch: [T, N, ...].
        key: of the shuffles and the perturbations.
        hyperparams: numbers.

    Returns:
        The state with new parameters, and metrics [], each a mean over the minibatches done.
    """
    config = agent.config
    rates = _learning_rates(config, state, hyperparams)

    def minibatch(carry, inputs):
        params, opt_state = carry
        grads, metrics = jax.grad(rpo_loss, has_aux=True)(params, agent, *inputs, hyperparams)
        metrics["grad_norm"] = optax.tree.norm(grads)
        return _descend(params, opt_state, grads, rates, hyperparams), metrics

    def epoch(carry):
        index, learner, sums, _ = carry
        key_shuffle, key_offsets = jax.random.split(jax.random.fold_in(key, index))
        minibatches = shuffle(key_shuffle, batch, config)
        offsets = agent.variant.perturb(key_offsets, minibatches.action.shape, hyperparams.rpo_alpha)
        learner, metrics = jax.lax.scan(minibatch, learner, (minibatches, offsets))
        means = {name: values.mean() for name, values in metrics.items()}
        sums = {name: sums[name] + value for name, value in means.items()}
        return index + 1, learner, sums, means["approx_kl"]

    def goes_on(carry):
        index, _, _, kl = carry
        return (index < config.num_epochs) & (kl <= hyperparams.target_kl)

    zeros = {name: jnp.zeros(()) for name in LOSS_METRICS}
    start = (jnp.zeros((), jnp.int32), (state.params, state.opt_state), zeros, jnp.full((), -jnp.inf))
    epochs, (params, opt_state), sums, _ = jax.lax.while_loop(goes_on, epoch, start)
    metrics = {name: value / epochs for name, value in sums.items()}
    metrics["epochs"] = epochs.astype(jnp.float32)
    return state.replace(params=params, opt_state=opt_state, update=state.update + 1), metrics


def shuffle(key: jax.Array, batch: Batch, config: TrainConfig) -> Batch:
    """Cuts a round [T, N, ...] into shuffled minibatches [M, B, ...].

    "samples" permutes all T*N samples. "environments" permutes the N environments, and a minibatch holds all T steps
    of N/M of them: whole columns move, which is faster, and samples of one minibatch are more alike.
    """

    def by_samples(x):
        return x.reshape((-1, *x.shape[2:]))[order].reshape((config.num_minibatches, -1, *x.shape[2:]))

    def by_environments(x):
        columns = x[:, order].reshape((x.shape[0], config.num_minibatches, -1, *x.shape[2:]))
        return jnp.moveaxis(columns, 1, 0).reshape((config.num_minibatches, -1, *x.shape[2:]))

    if config.shuffle == "environments":
        order = permutation(key, config.num_envs)
        return jax.tree.map(by_environments, batch)
    order = permutation(key, config.round_timesteps)
    return jax.tree.map(by_samples, batch)


def permutation(key: jax.Array, size: int) -> jax.Array:
    """A random order of `0 ... size - 1`, by one sort of 32-bit keys (`jax.random.permutation` sorts twice)."""
    return jax.lax.sort_key_val(jax.random.bits(key, (size,)), jnp.arange(size))[1]


def _learning_rates(config: TrainConfig, state: TrainingState, hyperparams: Hyperparams) -> dict[str, Scalar]:
    """The rates of this round, for each part of the parameters."""
    left = (
        jnp.maximum(1.0 - state.update / config.num_updates, 0.0) if config.learning_rate_schedule == "linear" else 1.0
    )
    policy = hyperparams.learning_rate * left
    own = hyperparams.value_learning_rate
    return {"policy": policy, "log_scale": policy, "value": policy if own is None else own * left}


def _descend(
    params: Params, opt_state: Any, grads: Params, rates: dict[str, Scalar], hyperparams: Hyperparams
) -> tuple[Params, Any]:
    updates: Any
    updates, opt_state = make_optimizer(hyperparams).update(grads, opt_state)
    steps = {
        part: jax.tree.map(lambda p, u, rate=rate: p - rate * u, params["params"][part], updates["params"][part])
        for part, rate in rates.items()
    }
    return {"params": steps}, opt_state
