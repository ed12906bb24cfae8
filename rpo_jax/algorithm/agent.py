"""The agent: combines an environment, a network, an action head, a variant and a configuration."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from rpo_jax.algorithm.config import Hyperparams, Scalar, TrainConfig
from rpo_jax.algorithm.heads import HEADS, Head, check_head, get_head
from rpo_jax.algorithm.networks import ActorCritic, check_network, init_params, make_mlp, param_shapes
from rpo_jax.algorithm.normalization import Moments, normalize
from rpo_jax.algorithm.sharing import WHOLE, Share
from rpo_jax.algorithm.stacked import act_and_evaluate
from rpo_jax.algorithm.types import Params, Policy, TrainingState
from rpo_jax.algorithm.variants import RPO, Variant, get_variant
from rpo_jax.envs import Environment, record_episodes
from rpo_jax.errors import SettingsError


@dataclasses.dataclass(frozen=True, eq=False)
class Agent:
    """The static part of a run. Created by `make_agent`; compared and hashed by identity.

    Attributes:
        env: environment that also records episode statistics.
        network: the actor-critic network.
        head: the family of action distributions.
        variant: the method.
        config: static settings; its sizes are those of the whole run, not of one device's shard.
        share: the shard of the run's environments on this device; all of them unless several devices share a run.
    """

    env: Environment
    network: nn.Module
    head: Head
    variant: Variant
    config: TrainConfig
    share: Share = WHOLE

    def __repr__(self) -> str:
        """Returns what it learns, and where."""
        return f"Agent({self.env!r}, variant={self.variant.name!r}, config={self.config!r})"

    def normalize(self, moments: Moments, obs: jax.Array, clip: Scalar) -> jax.Array:
        """Returns observations as the network receives them: normalised if the configuration says so.

        Args:
            moments: running moments of the observations.
            obs: observations [..., O] in the environment's own units.
            clip: bound to which normalised observations are clipped.

        Returns:
            Observations [..., O].
        """
        return normalize(moments, obs, clip) if self.config.normalize_observations else obs

    def init_params(self, key: jax.Array, obs: jax.Array, hyperparams: Hyperparams) -> Params:
        """Initialises the parameters of the network and applies the variant's constraint.

        Args:
            key: random key.
            obs: any observations [N, O]; only their shape is used.
            hyperparams: hyperparameters of one run, scalars [].

        Returns:
            The parameters.
        """
        return self.constrain(init_params(self.network, key, obs), hyperparams)

    def act(self, params: Params, obs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the location and the log-scale of the action distribution.

        Args:
            params: parameters of the network.
            obs: normalised observations [..., O].

        Returns:
            The location [..., A], and the log-scale, [A] or [..., A].
        """
        return self.network.apply(params, obs, method="act")  # pyright: ignore[reportReturnType]

    def distribution(self, state: TrainingState | Policy, obs: jax.Array, clip: Scalar) -> tuple[jax.Array, jax.Array]:
        """Returns what `act` does, for observations in the environment's own units.

        Args:
            state: parameters and observation moments.
            obs: observations [..., O].
            clip: bound to which normalised observations are clipped.

        Returns:
            The location [..., A], and the log-scale, [A] or [..., A].
        """
        return self.act(state.params, self.normalize(state.obs_moments, obs, clip))

    def value(self, params: Params, obs: jax.Array) -> jax.Array:
        """Returns the values [...] of normalised observations `obs` [..., O], by the parameters `params`."""
        return self.network.apply(params, obs, method="evaluate")  # pyright: ignore[reportReturnType]

    def act_and_value(self, params: Params, obs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns what `act` and `value` do, by `params` for normalised observations `obs` [N, O]."""
        if self.share.few_kernels and type(self.network) is ActorCritic:  # a subclass may compute something else
            return act_and_evaluate(self.network, params, obs, self.share.gradient_parts)
        return *self.act(params, obs), self.value(params, obs)

    def to_env(self, action: jax.Array) -> jax.Array:
        """Maps a stored `action` [..., A] to the one that the environment receives [..., A]."""
        return self.head.to_env(action, jnp.asarray(self.env.low), jnp.asarray(self.env.high))

    def keys(self, key: jax.Array, more: int = 0) -> jax.Array:
        """Returns one key for each environment on this device [N], followed by `more` further keys."""
        return self.share.part(jax.random.split(key, self.config.num_envs + more), overlap=more)

    @property
    def half_range(self) -> jax.Array:
        """Half the width of the action bounds [A]."""
        return 0.5 * (jnp.asarray(self.env.high) - jnp.asarray(self.env.low))

    def perturb(
        self, loc: jax.Array, log_scale: jax.Array, noise: jax.Array | None, hyperparams: Hyperparams
    ) -> jax.Array:
        """Shifts the location of the action distribution by the variant's width times noise.

        Args:
            loc: location [..., A].
            log_scale: log-scale, [A] or [..., A].
            noise: noise [..., A]; no shift if None.
            hyperparams: hyperparameters of one run, scalars [].

        Returns:
            The shifted location [..., A].
        """
        if noise is None or self.variant.width is None:
            return loc
        return loc + self.variant.width(hyperparams, jnp.exp(log_scale), self.half_range) * noise

    def constrain(self, params: Params, hyperparams: Hyperparams) -> Params:
        """Returns `params` with the variant's constraint, by `hyperparams`, applied to the log-scale."""
        if self.variant.constrain is None:
            return params
        own = params["params"]
        return {"params": {**own, "log_scale": self.variant.constrain(hyperparams, own["log_scale"])}}


def make_agent(
    env: Environment,
    variant: Variant | str = RPO,
    config: TrainConfig | None = None,
    head: Head | str = HEADS["normal"],
    network: nn.Module | None = None,
) -> Agent:
    """Creates an agent.

    Args:
        env: environment from `make_env`, or your own.
        variant: the method, such as `RPO`, or its name, such as "ppo".
        config: static settings; the default `TrainConfig()` if None.
        head: the family of action distributions, or its name, such as "tanh-normal".
        network: any flax module with the methods of `Network`: `act(obs [N, O]) -> (loc [N, A], log_scale [A] or
            [N, A])` and `evaluate(obs [N, O]) -> value [N]`; the `ActorCritic` that the configuration describes if
            None. All its parameters are trained; those of a submodule called `value` use `value_learning_rate`.

    Returns:
        The agent. Its environment also records episode returns and lengths.

    Raises:
        SettingsError: if the configuration, the head, the variant or the network does not fit the environment, is of
            another kind, or has an unknown name.
    """
    config = config or TrainConfig()
    variant = get_variant(variant) if isinstance(variant, str) else variant
    head = get_head(head) if isinstance(head, str) else head
    _check_kind("env", env, Environment, "make_env('gymnax/Pendulum-v1')")
    _check_kind("variant", variant, Variant, "RPO or 'rpo'")
    _check_kind("config", config, TrainConfig, "TrainConfig(num_envs=64)")
    _check_kind("head", head, Head, "'normal'")
    check_head(head, env)
    if network is None:
        network = make_mlp(env, config)
    else:
        check_network(network, env.observation_size, env.action_size)
    if variant.constrain and "log_scale" not in param_shapes(network, env.observation_size)["params"]:
        raise SettingsError(f"variant {variant.name} needs a network with a parameter log_scale; std='state' has none")
    agent = Agent(record_episodes(env), network, head, variant, config)
    variant.check(agent)
    return agent


def _check_kind(name: str, thing: object, kind: type, example: str) -> None:
    if not isinstance(thing, kind):
        raise SettingsError(f"{name} must be of type {kind.__name__}, such as {example}, and not {thing!r:.60}")
