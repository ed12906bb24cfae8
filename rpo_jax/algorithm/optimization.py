"""Optimisation: clipping by global norm, then Adam, of parameters that are kept as few arrays."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from rpo_jax.algorithm.agent import Agent
from rpo_jax.algorithm.config import Hyperparams, TrainConfig
from rpo_jax.algorithm.types import Params, TrainingState
from rpo_jax.typing import PyTree

LARGE = 8192  # entries; measured on a CPU: such an array costs less by itself than joined to a vector and cut out again

Weights = list[jax.Array]


class Learner(NamedTuple):
    """What a minibatch changes.

    Attributes:
        weights: the parameters, as few arrays.
        moments: Adam's moments of these arrays. Their count of steps is told to each step, and not carried: on a GPU,
            adding 1 would launch a kernel.
    """

    weights: Weights
    moments: PyTree


class Optimization:
    """The steps of the optimiser in one update of a run.

    Attributes:
        count: number of steps before this update [].
        as_params: makes parameters of a learner's weights.
    """

    def __init__(self, agent: Agent, state: TrainingState, hyperparams: Hyperparams):
        """Prepares the steps.

        Args:
            agent: static part of the run, from `make_agent`.
            state: training state, whose parameters and optimiser state are improved.
            hyperparams: hyperparameters of one run, scalars [].
        """
        self._join = partial(join_small, large=math.inf if agent.share.few_kernels else LARGE)
        self._weights, self.as_params = self._join(state.params)
        self._optimizer = make_optimizer(hyperparams)
        self.count, self._moments = optax.tree.get(state.opt_state, "count"), _with_count(state.opt_state, None)
        _, self._of_vector = flatten(state.params)  # the state keeps moments as vectors of all parameters
        rates = _learning_rates(agent.config, state, hyperparams)
        one_rate = hyperparams.value_learning_rate is None
        self._rates = [rates] * len(self._weights) if one_rate else self._join(rates)[0]
        self._constrain = partial(agent.constrain, hyperparams=hyperparams) if agent.variant.constrain else None

    def begin(self) -> Learner:
        """Returns the learner before the first step."""
        return Learner(self._weights, jax.tree.map(self._as_weights, self._moments))

    def step(self, learner: Learner, gradients: Weights, count: jax.Array) -> Learner:
        """Takes a step.

        Args:
            learner: weights and moments before it.
            gradients: gradients of the loss by the weights.
            count: number of steps before it [].

        Returns:
            Weights, constrained as the variant does, and moments after it.
        """
        direction: Any
        direction, moments = self._optimizer.update(gradients, _with_count(learner.moments, count))
        weights = jax.tree.map(lambda w, rate, d: w - rate * d, learner.weights, self._rates, direction)
        if self._constrain:
            weights = self._join(self._constrain(self.as_params(weights)))[0]
        return Learner(weights, _with_count(moments, None))

    def finish(self, learner: Learner, num_steps: jax.Array) -> tuple[Params, PyTree]:
        """Returns the parameters and the optimiser state after all steps.

        Args:
            learner: weights and moments after the last step.
            num_steps: number of steps that were taken [].
        """
        moments = jax.tree.map(lambda _, learned: self._as_vector(learned), self._moments, learner.moments)
        return self.as_params(learner.weights), _with_count(moments, self.count + num_steps)

    def _as_weights(self, vector: jax.Array) -> Weights:
        return self._join(self._of_vector(vector))[0] if len(self._weights) > 1 else [vector]

    def _as_vector(self, weights: Weights) -> jax.Array:
        return flatten(self.as_params(weights))[0] if len(weights) > 1 else weights[0]


def make_optimizer(hyperparams: Hyperparams) -> optax.GradientTransformation:
    """Creates the optimiser by `hyperparams`: clipping by global norm, then Adam.

    The learning rate is applied outside of it, so that it can be annealed and vmapped.
    """
    return optax.chain(
        optax.clip_by_global_norm(hyperparams.max_grad_norm),
        optax.scale_by_adam(eps=hyperparams.adam_epsilon),
    )


def flatten(params: Params) -> tuple[jax.Array, Callable[[jax.Array], Params]]:
    """Flattens all parameters into one vector, as what the optimiser knows of them is kept.

    Args:
        params: parameters.

    Returns:
        The vector [P], and the function that makes parameters of it again.
    """
    return ravel_pytree(params)


def join_small(params: Params, large: float = LARGE) -> tuple[Weights, Callable[[Weights], Params]]:
    """Joins the small ones of the parameters' arrays, so that an optimiser needs few operations.

    Arrays of different types are all joined, since the vector has the type to which they are promoted.

    Args:
        params: parameters.
        large: number of entries from which an array is not joined.

    Returns:
        A vector of all small arrays, followed by the large ones; and the function that makes parameters of such a list.
    """
    leaves, structure = jax.tree.flatten(params)
    of_one_type = len({leaf.dtype for leaf in leaves}) == 1
    is_large = [of_one_type and leaf.size >= large for leaf in leaves]
    vector, cut = ravel_pytree([leaf for leaf, alone in zip(leaves, is_large, strict=True) if not alone])

    def as_params(weights: Weights) -> Params:
        small, others = iter(cut(weights[0])), iter(weights[1:])
        return structure.unflatten([next(others if alone else small) for alone in is_large])

    return [vector, *(leaf for leaf, alone in zip(leaves, is_large, strict=True) if alone)], as_params


def _with_count(opt_state: PyTree, count: jax.Array | None) -> PyTree:
    return optax.tree.set(opt_state, count=count)


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
