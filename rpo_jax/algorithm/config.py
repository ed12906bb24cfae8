"""The two kinds of settings: `TrainConfig` determines the compiled program; `Hyperparams` are its numeric inputs."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, Literal

import jax
import numpy as np

from rpo_jax.algorithm.fields import check_divides, check_field, check_values, documented, setting
from rpo_jax.errors import SettingsError

Scalar = float | jax.Array | np.ndarray


@documented
@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Static settings: shapes, loop lengths and choices. Changing one compiles a new program.

    Raises:
        SettingsError: if a value is out of range, or one size does not divide another as required.
    """

    total_timesteps: int = setting(1_000_000, "environment steps of each run, over all its environments", low=1)
    num_envs: int = setting(1024, "environments that a run steps in parallel (N)", low=1)
    num_steps: int = setting(32, "steps of each environment per update (T)", low=1)
    num_epochs: int = setting(4, "passes over the samples of each update", low=1)
    num_minibatches: int = setting(8, "minibatches per epoch (M); each has T*N/M samples", low=1)
    shuffle: Literal["samples", "environments"] = setting(
        "samples", "form minibatches from single samples, or (faster) from all the steps of a few environments"
    )
    normalize_advantages: Literal["minibatch", "round", "none"] = setting(
        "minibatch",
        "samples over which advantages get zero mean and unit standard deviation (round: the whole rollout)",
    )
    bessel_correction: bool = setting(
        False, "divide by n - 1, not n, in the standard deviation of advantages, as PyTorch does"
    )
    clip_value_loss: bool = setting(
        True, "clip the change of the value prediction to +- clip_epsilon, as in PPO's code"
    )
    learning_rate_schedule: Literal["linear", "constant"] = setting(
        "linear", "anneal the learning rates linearly to 0 over the run, or keep them constant"
    )
    normalize_observations: bool = setting(True, "normalise observations by their running mean and standard deviation")
    normalize_rewards: bool = setting(True, "divide rewards by the running standard deviation of the discounted return")
    policy_observation_scale: tuple[float, ...] = setting(
        (), "divide the policy network's input by these constants, one per dimension (none: no division)", above=0
    )
    value_observation_scale: tuple[float, ...] = setting(
        (), "divide the value network's input by these constants, one per dimension (none: no division)", above=0
    )
    perturb_rollout: bool = setting(
        False, "perturb the action mean in the rollout too (in the paper: only in learning)"
    )
    reset_every_round: bool = setting(False, "begin every update with new episodes")
    hidden_sizes: tuple[int, ...] = setting(
        (64, 64), "widths of the hidden layers of the policy and value networks", low=1
    )
    activation: Literal["tanh", "relu", "swish"] = setting("tanh", "activation of the hidden layers")
    weight_init: Literal["orthogonal", "uniform"] = setting(
        "orthogonal", "orthogonal, or uniform in +-1/sqrt(fan-in) for weights and biases (PyTorch's default)"
    )
    matmul_precision: Literal["default", "high", "highest"] = setting(
        "default",
        "precision of the networks' matrix products: JAX's own setting (TF32 on a recent GPU), up to full float32",
    )
    deterministic: bool = setting(
        False, "on a GPU: give the same bits whenever a seed is run, at some cost of speed; other devices always do"
    )
    std: Literal["shared", "state"] = setting(
        "shared", "standard deviation of actions: one parameter per dimension, or an output of the policy network"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_field(field, getattr(self, field.name))
        most = self.round_timesteps - 1 if self.normalize_advantages == "minibatch" else self.round_timesteps
        if self.shuffle == "environments":
            check_divides("num_minibatches", self.num_minibatches, "num_envs", self.num_envs, most)
        else:
            check_divides("num_minibatches", self.num_minibatches, "num_steps * num_envs", self.round_timesteps, most)
        normalized = {"minibatch": self.round_timesteps // self.num_minibatches, "round": self.round_timesteps}
        if normalized.get(self.normalize_advantages) == 1:
            raise SettingsError(
                f"normalize_advantages={self.normalize_advantages!r} would make the advantage of a single sample 0; "
                "ask for larger minibatches, or for 'none'"
            )
        if self.total_timesteps < self.round_timesteps:
            raise SettingsError(
                f"total_timesteps={self.total_timesteps} is less than one update of num_steps * num_envs = "
                f"{self.round_timesteps}; ask for at least that many, or make num_steps or num_envs smaller"
            )
        if self.num_updates >= 2**31:
            raise SettingsError(
                f"total_timesteps={self.total_timesteps} makes {self.num_updates} updates; ask for fewer than 2^31"
            )

    @property
    def round_timesteps(self) -> int:
        """Environment steps of one update, T*N."""
        return self.num_steps * self.num_envs

    @property
    def num_updates(self) -> int:
        """Number of whole updates of a run, U; up to T*N - 1 of `total_timesteps` may be left out."""
        return self.total_timesteps // self.round_timesteps


@documented
@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class Hyperparams:
    """Numeric hyperparameters: a pytree of scalars, each of which can be traced, annealed and swept under vmap.

    The defaults are the paper's (Rahman & Xue 2022, arXiv 2212.07536, and its published code). A method that needs
    others has a subclass, a frozen dataclass with more fields from `setting`, as the `hyperparams_type` of its variant.

    Raises:
        SettingsError: if a plain number is out of range (arrays are checked by `grid`; traced values cannot be).
    """

    learning_rate: Scalar = setting(
        3e-4, "learning rate (Adam step size); also of the value network unless value_learning_rate is given", low=0
    )
    value_learning_rate: Scalar | None = setting(
        None, "learning rate of the value network; learning_rate if not given", low=0
    )
    gamma: Scalar = setting(0.99, "discount factor", low=0, high=1)
    gae_lambda: Scalar = setting(0.95, "lambda of the generalised advantage estimate", low=0, high=1)
    clip_epsilon: Scalar = setting(0.2, "half-width of the interval to which the probability ratio is clipped", above=0)
    value_coefficient: Scalar = setting(0.5, "weight of the value loss, 1/2 mean squared error", low=0)
    entropy_coefficient: Scalar = setting(0.0, "weight of the entropy bonus", low=0)
    max_grad_norm: Scalar = setting(
        0.5, "gradients are scaled down to at most this global norm; inf: never", above=0, finite=False
    )
    rpo_alpha: Scalar = setting(0.5, "half-width of the uniform perturbation of the mean, in raw action units", low=0)
    rpo_alpha_end: Scalar | None = setting(
        None, "value to which rpo_alpha is annealed linearly over the run; constant if not given", low=0
    )
    target_kl: Scalar = setting(
        math.inf,
        "skip the remaining epochs of an update once the mean KL (of the perturbed policy) exceeds this; inf: never",
        above=0,
        finite=False,
    )
    adam_epsilon: Scalar = setting(1e-5, "Adam's epsilon", above=0)
    observation_clip: Scalar = setting(10.0, "normalised observations are clipped to +- this", above=0, finite=False)
    reward_clip: Scalar = setting(10.0, "normalised rewards are clipped to +- this", above=0, finite=False)
    augmentation_low: Scalar = setting(
        0.6, "variants rad, drac, drac-kl: smallest factor by which observations are multiplied", low=0
    )
    augmentation_high: Scalar = setting(1.2, "variants rad, drac, drac-kl: largest such factor", low=0)
    drac_coefficient: Scalar = setting(0.1, "variants drac, drac-kl: weight of the regularisation terms", low=0)
    log_std: Scalar = setting(
        0.0, "variant ppo-constant-std: log-scale of the action distribution (of a normal head: log standard deviation)"
    )
    min_log_std: Scalar = setting(-0.5, "variant ppo-min-std: lower bound of the log-scale of the action distribution")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        jax.tree_util.register_pytree_with_keys_class(cls)

    def __post_init__(self) -> None:
        check_hyperparams(self)

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], None]:
        """Flattens the record for JAX: returns the fields in order, with their names."""
        return [(jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in field_names(self)], None

    @classmethod
    def tree_unflatten(cls, _: None, values: Iterable[Any]) -> "Hyperparams":
        """Rebuilds the record for JAX from `values` of its fields.

        Checks nothing, because JAX also stores axes and placeholders in them.
        """
        rebuilt = object.__new__(cls)
        for name, value in zip(field_names(cls), values, strict=True):
            object.__setattr__(rebuilt, name, value)
        return rebuilt


def field_names(record: Any) -> list[str]:
    """Returns the field names of a settings `record`."""
    return [field.name for field in dataclasses.fields(record)]


def check_hyperparams(hyperparams: Hyperparams) -> None:
    """Checks the numbers and NumPy arrays of `hyperparams`; JAX arrays may be traced, and are not checked.

    Raises:
        SettingsError: if they are no `Hyperparams`, or a value is out of range or not a number.
    """
    if not isinstance(hyperparams, Hyperparams):
        raise SettingsError(
            f"hyperparams must be of type Hyperparams, such as grid(rpo_alpha=[0.1, 0.5]), and not a "
            f"{type(hyperparams).__name__}"
        )
    for field in dataclasses.fields(hyperparams):
        value = getattr(hyperparams, field.name)
        if isinstance(value, np.ndarray):
            check_values(field, value.ravel().tolist())
        elif not isinstance(value, jax.Array) and not (value is None and field.default is None):
            check_values(field, [value])
