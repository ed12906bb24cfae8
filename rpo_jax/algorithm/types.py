"""Records that the functions of the algorithm exchange.

Letters used for shapes: `T` num_steps, `N` num_envs, `M` num_minibatches, `B` = T*N/M minibatch size,
`O` observation size, `A` action size, `U` number of updates, `H` hyperparameter settings, `S` seeds.
"""

from typing import NamedTuple

import jax
from flax import struct

from rpo_jax.algorithm.normalization import Moments
from rpo_jax.typing import PyTree

Params = PyTree


class Transition(NamedTuple):
    """The transitions of a rollout, [T, N, ...], in the environment's own units.

    Attributes:
        obs: observations on which the policy acted [T, N, O].
        final_obs: true successors of the observations, before any reset [T, N, O]; equal to `obs` where `broken`.
        action: stored actions, neither clipped nor squashed [T, N, A].
        log_prob: log-probability of the action under the policy that acted [T, N].
        reward: rewards [T, N].
        terminated: whether the successor is terminal [T, N] bool.
        truncated: whether the episode was truncated [T, N] bool.
        broken: whether the episode was truncated because the simulator returned a non-finite number [T, N] bool.
        episode_return: return of the episode so far, including this step [T, N].
        episode_length: length of the episode so far, including this step [T, N].
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
        """Whether the episode ended, by termination or truncation [T, N] bool."""
        return self.terminated | self.truncated


class Batch(NamedTuple):
    """Samples to learn from; [T, N, ...] for a rollout, [B, ...] for a minibatch.

    Attributes:
        obs: normalised observations [..., O].
        action: stored actions [..., A].
        log_prob: log-probabilities of the actions in the rollout [...].
        advantage: advantages [...].
        target: value targets [...].
        value: value predictions before learning [...].
    """

    obs: jax.Array
    action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array
    value: jax.Array


FAULTS = ("none", "observations", "rewards", "loss", "gradient", "parameters")


class TrainingState(struct.PyTreeNode):
    """The state of a run between updates; all leaves are arrays.

    Attributes:
        params: parameters of the actor-critic.
        opt_state: state of the optimiser.
        obs_moments: running moments of observations [O].
        return_moments: running moments of the discounted return [].
        discounted_return: discounted return so far in each environment [N].
        env_state: state of the environments [..., N]; blank before the first update, which starts their episodes,
            except on the host.
        obs: observations on which to act next [N, O]; also blank before the first update, except on the host.
        update: number of updates done [] int32; if there was a fault, of those before it.
        fault: index into `FAULTS` of the quantity that first became non-finite [] int32; what was learned then stays
            as it was before that update.
        key: random key of the following updates.
    """

    params: Params
    opt_state: PyTree
    obs_moments: Moments
    return_moments: Moments
    discounted_return: jax.Array
    env_state: PyTree
    obs: jax.Array
    update: jax.Array
    fault: jax.Array
    key: jax.Array

    @property
    def policy(self) -> "Policy":
        """The policy: parameters and observation moments."""
        return Policy(self.params, self.obs_moments)


class Policy(NamedTuple):
    """A trained policy.

    Attributes:
        params: parameters of the actor-critic.
        obs_moments: running moments with which observations are normalised [O].
    """

    params: Params
    obs_moments: Moments
