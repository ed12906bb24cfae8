"""Records that flow through the algorithm.

Letters used for shapes everywhere: `T` num_steps, `N` num_envs, `M` num_minibatches, `B` = T*N/M minibatch size,
`O` observation size, `A` action size, `U` number of updates, `H` hyperparameter settings, `S` seeds.
"""

from typing import Any, NamedTuple

import jax
from flax import struct

from rpo_jax.algorithm.normalization import Moments

Params = Any


class Transition(NamedTuple):
    """A rollout, [T, N, ...]: what was seen, done and received, in the environment's own units.

    Attributes:
        obs: observations acted on [T, N, O].
        final_obs: their true successors, before any reset [T, N, O]; what was acted on where the simulator broke.
        action: stored actions, neither clipped nor squashed [T, N, A].
        log_prob: of the action under the policy that acted [T, N].
        reward: [T, N].
        terminated: [T, N] bool.
        truncated: [T, N] bool.
        broken: the simulator gave what is not finite, which cut the episode [T, N] bool.
        episode_return: of the episode so far [T, N]; whole where it ended.
        episode_length: of the episode so far [T, N].
    """

    obs: jax.Array
    final_obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    broken: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array

    @property
    def ended(self) -> jax.Array:
        """[T, N] bool: the episode ended, one way or the other."""
        return self.terminated | self.truncated


class Batch(NamedTuple):
    """What the update learns from; [T, N, ...] for a round, [B, ...] for a minibatch.

    Attributes:
        obs: normalised observations [..., O].
        action: stored actions [..., A].
        log_prob: of the actions when they were taken [...].
        advantage: [...].
        target: of the value [...].
        value: prediction before the update [...].
    """

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array
    value: jax.Array


FAULTS = ("none", "observations", "rewards", "loss", "gradient", "parameters")


class TrainingState(struct.PyTreeNode):
    """All that a run carries from round to round; only arrays.

    Attributes:
        params: of the actor-critic.
        opt_state: of the optimiser.
        obs_moments: running moments of observations [O].
        return_moments: running moments of the discounted return [].
        discounted_return: that return, so far, in each environment [N].
        env_state: of the environments [..., N]; blank before the first round, which begins their
            episodes; but not on the host.
        obs: what to act on next [N, O]; likewise.
        update: rounds done [] int32; those before the fault, if there was one.
        fault: index into `FAULTS` of what first was not finite [] int32. What was learned stays as it was before.
        key: random key of the rounds to come.
    """

    params: Params
    opt_state: Any
    obs_moments: Moments
    return_moments: Moments
    discounted_return: jax.Array
    env_state: Any
    obs: jax.Array
    update: jax.Array
    fault: jax.Array
    key: jax.Array

    @property
    def policy(self) -> "Policy":
        """What acting needs."""
        return Policy(self.params, self.obs_moments)


class Policy(NamedTuple):
    """A trained policy.

    Attributes:
        params: of the actor-critic.
        obs_moments: running moments that normalise its observations [O].
    """

    params: Params
    obs_moments: Moments
