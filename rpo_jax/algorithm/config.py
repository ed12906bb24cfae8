"""The two kinds of settings: `TrainConfig` determines the compiled program; `Hyperparams` are its numeric inputs."""

import dataclasses
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import jax
import numpy as np

from rpo_jax.errors import SettingsError

Scalar = float | jax.Array | np.ndarray


def _setting(default: Any, doc: str, **bounds: Any) -> Any:
    """Returns a dataclass field with its documentation and bounds (`low`, `above`, `high`, `finite`) as metadata."""
    return dataclasses.field(default=default, metadata={"doc": doc, **bounds})


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Static settings: shapes, loop lengths and choices. Changing one compiles a new program.

    Every field is documented in its metadata, which `rpo-jax train --help` also shows.

    Raises:
        SettingsError: if a value is out of range, or one size does not divide another as required.
    """

    total_timesteps: int = _setting(1_000_000, "environment steps of each run, over all its environments", low=1)
    num_envs: int = _setting(1024, "environments that a run steps in parallel (N)", low=1)
    num_steps: int = _setting(32, "steps of each environment per update (T)", low=1)
    num_epochs: int = _setting(4, "passes over the samples of each update", low=1)
    num_minibatches: int = _setting(8, "minibatches per epoch (M); each has T*N/M samples", low=1)
    shuffle: Literal["samples", "environments"] = _setting(
        "samples", "form minibatches from single samples, or (faster) from all the steps of a few environments"
    )
    normalize_advantages: Literal["minibatch", "round", "none"] = _setting(
        "minibatch",
        "samples over which advantages get zero mean and unit standard deviation (round: the whole rollout)",
    )
    bessel_correction: bool = _setting(
        False, "divide by n - 1, not n, in the standard deviation of advantages, as PyTorch does"
    )
    clip_value_loss: bool = _setting(
        True, "clip the change of the value prediction to +- clip_epsilon, as in PPO's code"
    )
    learning_rate_schedule: Literal["linear", "constant"] = _setting(
        "linear", "anneal the learning rates linearly to 0 over the run, or keep them constant"
    )
    normalize_observations: bool = _setting(True, "normalise observations by their running mean and standard deviation")
    normalize_rewards: bool = _setting(
        True, "divide rewards by the running standard deviation of the discounted return"
    )
    policy_observation_scale: tuple[float, ...] = _setting(
        (), "divide the policy network's input by these constants, one per dimension (none: no division)", above=0
    )
    value_observation_scale: tuple[float, ...] = _setting(
        (), "divide the value network's input by these constants, one per dimension (none: no division)", above=0
    )
    perturb_rollout: bool = _setting(
        False, "perturb the action mean in the rollout too (in the paper: only in learning)"
    )
    reset_every_round: bool = _setting(False, "begin every update with new episodes")
    hidden_sizes: tuple[int, ...] = _setting(
        (64, 64), "widths of the hidden layers of the policy and value networks", low=1
    )
    activation: Literal["tanh", "relu", "swish"] = _setting("tanh", "activation of the hidden layers")
    weight_init: Literal["orthogonal", "uniform"] = _setting(
        "orthogonal", "orthogonal, or uniform in +-1/sqrt(fan-in) for weights and biases (PyTorch's default)"
    )
    matmul_precision: Literal["default", "high", "highest"] = _setting(
        "default",
        "precision of the networks' matrix products: JAX's own setting (TF32 on a recent GPU), up to full float32",
    )
    std: Literal["shared", "state"] = _setting(
        "shared", "standard deviation of actions: one parameter per dimension, or an output of the policy network"
    )

    def __post_init__(self) -> None:
        _check_fields(self)
        most = self.round_timesteps - 1 if self.normalize_advantages == "minibatch" else self.round_timesteps
        if self.shuffle == "environments":
            _check_divides("num_minibatches", self.num_minibatches, "num_envs", self.num_envs, most)
        else:
            _check_divides("num_minibatches", self.num_minibatches, "num_steps * num_envs", self.round_timesteps, most)
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


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class Hyperparams:
    """Numeric hyperparameters: a pytree of scalars, each of which can be traced, annealed and swept under vmap.

    The defaults are the paper's (Rahman & Xue 2022, arXiv 2212.07536, and its published code).

    Raises:
        SettingsError: if a plain number is out of range (arrays are checked by `grid`; traced values cannot be).
    """

    learning_rate: Scalar = _setting(
        3e-4, "learning rate (Adam step size); also of the value network unless value_learning_rate is given", low=0
    )
    value_learning_rate: Scalar | None = _setting(
        None, "learning rate of the value network; learning_rate if not given", low=0
    )
    gamma: Scalar = _setting(0.99, "discount factor", low=0, high=1)
    gae_lambda: Scalar = _setting(0.95, "lambda of the generalised advantage estimate", low=0, high=1)
    clip_epsilon: Scalar = _setting(
        0.2, "half-width of the interval to which the probability ratio is clipped", above=0
    )
    value_coefficient: Scalar = _setting(0.5, "weight of the value loss, 1/2 mean squared error", low=0)
    entropy_coefficient: Scalar = _setting(0.0, "weight of the entropy bonus", low=0)
    max_grad_norm: Scalar = _setting(
        0.5, "gradients are scaled down to at most this global norm; inf: never", above=0, finite=False
    )
    rpo_alpha: Scalar = _setting(0.5, "half-width of the uniform perturbation of the mean, in raw action units", low=0)
    rpo_alpha_end: Scalar | None = _setting(
        None, "value to which rpo_alpha is annealed linearly over the run; constant if not given", low=0
    )
    target_kl: Scalar = _setting(
        math.inf,
        "skip the remaining epochs of an update once the mean KL (of the perturbed policy) exceeds this; inf: never",
        above=0,
        finite=False,
    )
    adam_epsilon: Scalar = _setting(1e-5, "Adam's epsilon", above=0)
    observation_clip: Scalar = _setting(10.0, "normalised observations are clipped to +- this", above=0, finite=False)
    reward_clip: Scalar = _setting(10.0, "normalised rewards are clipped to +- this", above=0, finite=False)
    augmentation_low: Scalar = _setting(
        0.6, "variants rad, drac, drac-kl: smallest factor by which observations are multiplied", low=0
    )
    augmentation_high: Scalar = _setting(1.2, "variants rad, drac, drac-kl: largest such factor", low=0)
    drac_coefficient: Scalar = _setting(0.1, "variants drac, drac-kl: weight of the regularisation terms", low=0)
    log_std: Scalar = _setting(
        0.0, "variant ppo-constant-std: log-scale of the action distribution (of a normal head: log standard deviation)"
    )
    min_log_std: Scalar = _setting(-0.5, "variant ppo-min-std: lower bound of the log-scale of the action distribution")

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
        SettingsError: if a value is out of range or not a number.
    """
    for field in dataclasses.fields(hyperparams):
        value = getattr(hyperparams, field.name)
        if isinstance(value, np.ndarray):
            check_numbers(field.name, value.ravel().tolist())
        elif not isinstance(value, jax.Array) and not (value is None and field.default is None):
            check_numbers(field.name, [value])


def check_numbers(name: str, values: Iterable[Any]) -> None:
    """Checks `values` of the hyperparameter with that `name`.

    Raises:
        SettingsError: if one is out of range or not a number.
    """
    field = next(field for field in dataclasses.fields(Hyperparams) if field.name == name)
    _check_numbers(field, values)


def _check_fields(record: TrainConfig) -> None:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if get_origin(field.type) is Literal:
            _check_choice(field.name, value, get_args(field.type))
        elif field.type is bool:
            _check_choice(field.name, value, (True, False))
        elif get_origin(field.type) is tuple:
            if not isinstance(value, tuple):
                raise SettingsError(f"{field.name}={value!r} is not a tuple of numbers, such as (64, 64)")
            _check_numbers(field, value, whole=get_args(field.type)[0] is int)
        else:
            _check_numbers(field, [value], whole=True)


def _check_choice(name: str, value: Any, choices: tuple) -> None:
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise SettingsError(f"{name}={value!r} is not one of {', '.join(map(str, choices))}")


def _check_numbers(field: dataclasses.Field, values: Iterable[Any], whole: bool = False) -> None:
    kind = numbers.Integral if whole else numbers.Real
    for value in values:
        if isinstance(value, bool) or not isinstance(value, kind):
            raise SettingsError(f"{field.name}={value!r} is not a {'whole number' if whole else 'number'}")
        for complaint in _complaints(value, field.metadata):
            raise SettingsError(f"{field.name}={value} is out of range: it must be {complaint}")


def _complaints(value: Any, bounds: Mapping[str, Any]) -> Iterator[str]:
    number = _as_float(value)
    if math.isnan(number) or (math.isinf(number) and bounds.get("finite", True)):
        yield "a finite number"
    if "low" in bounds and value < bounds["low"]:
        yield f"{bounds['low']} or more"
    if "above" in bounds and value <= bounds["above"]:
        yield f"above {bounds['above']}"
    if "high" in bounds and value > bounds["high"]:
        yield f"{bounds['high']} or less"


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check_divides(name: str, divisor: int, of: str, total: int, most: int) -> None:
    if total % divisor == 0:
        return
    divisors = [d for d in _divisors(total) if d <= max(1, most)]
    near = [*[d for d in divisors if d < divisor][-1:], *[d for d in divisors if d > divisor][:1]]
    raise SettingsError(
        f"{name}={divisor} does not divide {of} = {total}; the nearest that do are {' and '.join(map(str, near))}"
    )


def _divisors(total: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(total) + 1) if total % d == 0]
    return sorted({*small, *(total // d for d in small)})
