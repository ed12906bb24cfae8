"""Action heads: location-scale distributions of distrax, and the mapping of their samples to environment actions.

The network outputs a location and a scale per action dimension. The stored action is the sample
`x = loc + scale * noise` itself, neither clipped nor squashed. `to_env` maps it to the bounds `low`, `high` [A] of the
environment.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from rpo_jax.envs.protocol import Environment
from rpo_jax.errors import SettingsError, warn_once
from rpo_jax.registry import Registry

FAR = 3.0  # initial standard deviations of a new policy, whose actions are around 0


def clip_to_bounds(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Clips an action to the bounds. It is not rescaled, so alpha stays in raw action units.

    Args:
        x: stored action [..., A].
        low: lower bounds [A].
        high: upper bounds [A].

    Returns:
        The action within the bounds [..., A].
    """
    return jnp.clip(x, low, high)


def squash_to_bounds(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Squashes an action with `tanh`, scaled to the bounds; clipped, as rounding may exceed the upper bound.

    Args:
        x: stored action [..., A].
        low: lower bounds [A].
        high: upper bounds [A].

    Returns:
        The action within the bounds [..., A].
    """
    return jnp.clip(low + 0.5 * (high - low) * (jnp.tanh(x) + 1.0), low, high)


class Head(NamedTuple):
    """A family of action distributions.

    Attributes:
        family: `(loc, scale) -> distrax.Distribution`, a location-scale family over the stored action.
        to_env: `(x, low, high) -> action` within the bounds.
        squashed: whether density and entropy are those of the action after `squash_to_bounds` instead of `x`.
    """

    family: Callable[..., distrax.Distribution]
    to_env: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] = clip_to_bounds
    squashed: bool = False

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draws standard noise of the family, of any `shape` [...], by `key`; `sample` makes actions of it."""
        # Drawn as a vector, for which XLA generates less code.
        return self.family(0.0, 1.0).sample(seed=key, sample_shape=(math.prod(shape),)).reshape(shape)

    def sample(self, loc: jax.Array, log_scale: jax.Array, noise: jax.Array) -> jax.Array:
        """Returns the stored action `loc + scale * noise` [..., A]; `log_scale` is [A] or [..., A]."""
        return loc + jnp.exp(log_scale) * noise

    def log_prob(self, loc: jax.Array, log_scale: jax.Array, x: jax.Array, half_range: jax.Array) -> jax.Array:
        """Computes the log-density of the stored action `x`, summed over action dimensions.

        Args:
            loc: location [..., A].
            log_scale: logarithm of the scale [A] or [..., A].
            x: stored action [..., A]; for a squashed head, the action before squashing, so that no `atanh` is needed.
            half_range: (high - low) / 2 [A]; only a squashed head uses it.

        Returns:
            Log-density [...], in nats; for a squashed head, that of the environment's action.
        """
        log_prob = self.family(loc, jnp.exp(log_scale)).log_prob(x)
        if self.squashed:
            log_prob -= _log_det_squash(x, half_range)
        return jnp.sum(log_prob, axis=-1)

    def entropy(self, loc: jax.Array, log_scale: jax.Array, half_range: jax.Array) -> jax.Array:
        """Computes the differential entropy, summed over action dimensions.

        A squashed normal has no closed form: `H(x) + E[log |da/dx|]` is computed by Gauss-Hermite quadrature with 32
        nodes.

        Args:
            loc: location [..., A].
            log_scale: logarithm of the scale [A] or [..., A].
            half_range: (high - low) / 2 [A]; only a squashed head uses it.

        Returns:
            Entropy [...], in nats.
        """
        scale = jnp.exp(log_scale)
        entropy = jnp.broadcast_to(self.family(loc, scale).entropy(), loc.shape)
        if self.squashed:
            nodes, weights = _GAUSS_HERMITE
            x = loc[..., None] + scale[..., None] * nodes
            entropy += _log_det_squash(x, half_range[..., None]) @ weights
        return jnp.sum(entropy, axis=-1)

    def kl(self, loc: jax.Array, log_scale: jax.Array, other_loc: jax.Array, other_log_scale: jax.Array) -> jax.Array:
        """Computes `KL(p, q)`, summed over action dimensions; squashing both distributions does not change it.

        Args:
            loc: location of p [..., A].
            log_scale: log-scale of p [A] or [..., A].
            other_loc: location of q [..., A].
            other_log_scale: log-scale of q [A] or [..., A].

        Returns:
            KL divergence [...], in nats.

        Raises:
            NotImplementedError: if the KL divergence of the family has no closed form.
        """
        p, q = self.family(loc, jnp.exp(log_scale)), self.family(other_loc, jnp.exp(other_log_scale))
        return jnp.sum(p.kl_divergence(q), axis=-1)

    def mean(self, loc: jax.Array, log_scale: jax.Array) -> jax.Array:
        """Returns the mean of the stored action; `to_env` maps it to the environment's mean action.

        Args:
            loc: location [..., A].
            log_scale: logarithm of the scale [A] or [..., A].

        Returns:
            The mean [..., A].
        """
        return jnp.broadcast_to(self.family(loc, jnp.exp(log_scale)).mean(), loc.shape)


def check_head(head: Head, env: Environment) -> None:
    """Checks that a head can be used with the action bounds of an environment, and warns where it can hardly learn.

    Args:
        head: the family of action distributions.
        env: the environment.

    Raises:
        SettingsError: if the head is squashed and the bounds, or their density, are not finite.
    """
    if head.squashed and head.to_env is not squash_to_bounds:
        raise SettingsError("squashed=True is the density after squash_to_bounds, and the head's to_env is another map")
    with np.errstate(over="ignore", invalid="ignore"):
        width = np.subtract(env.high, env.low)
    if head.to_env is squash_to_bounds and not env.has_finite_actions:
        raise SettingsError(
            f"a squashed head needs finite action bounds and a finite width of them in float32, and {env.name} has "
            f"{_bounds(env, ~np.isfinite(width))}; use a head that clips, such as normal"
        )
    if head.squashed and not width.all():
        raise SettingsError(
            f"a squashed density needs action bounds that differ, and {env.name} has {_bounds(env, width == 0)}; use "
            "a head whose density is not squashed, such as normal or normal-then-tanh"
        )
    far = (np.maximum(env.low, -env.high) >= FAR) & (width > 0)
    if head.to_env is clip_to_bounds and far.any():
        remedy = (
            "use a head that maps the policy's output to the bounds: get_head('tanh-normal'), --head tanh-normal"
            if env.has_finite_actions
            else "let the environment shift its actions to around 0"
        )
        warn_once(
            f"{env.name} has {_bounds(env, far)}, far from 0, around which a new policy acts: its actions are all "
            f"clipped to one bound, and it may never learn; {remedy}"
        )


def _bounds(env: Environment, which: np.ndarray) -> str:
    """Describes the bounds of the first of these action dimensions."""
    index = int(np.flatnonzero(which)[0])
    return f"[{env.low[index]:g}, {env.high[index]:g}] for action dimension {index}"


def _log_det_squash(x: jax.Array, half_range: jax.Array) -> jax.Array:
    return jnp.add(distrax.Tanh().forward_log_det_jacobian(x), jnp.log(half_range))


def _gauss_hermite(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    return nodes.astype(np.float32), (weights / weights.sum()).astype(np.float32)


_GAUSS_HERMITE = _gauss_hermite(32)


class _Gumbel(distrax.Gumbel):
    """Gumbel distribution with finite log-density and gradient far below the location, where `exp(-z)` overflows."""

    def log_prob(self, value: jax.Array) -> jax.Array:
        return jnp.asarray(super().log_prob(jnp.maximum(value, self.loc - 60.0 * self.scale)))


HEADS: Registry[Head] = Registry(
    "head",
    {
        "normal": Head(distrax.Normal),
        "laplace": Head(distrax.Laplace),
        "gumbel": Head(_Gumbel),
        "tanh-normal": Head(distrax.Normal, squash_to_bounds, squashed=True),
        # As in the seed notes: squashing is part of the environment; density and entropy are those before squashing.
        "normal-then-tanh": Head(distrax.Normal, squash_to_bounds),
    },
)


def get_head(name: str) -> Head:
    """Returns the head with that name.

    Args:
        name: name of a head in `HEADS`.

    Returns:
        The head.

    Raises:
        SettingsError: if no head has that name.
    """
    return HEADS.find(name)
