"""Validation of both kinds of settings, grids and seeds."""

import dataclasses
import itertools
import math
import re
from functools import partial
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings

from rpo_jax import Hyperparams, SettingsError, TrainConfig, grid, seeds
from rpo_jax.algorithm.config import check_hyperparams
from rpo_jax.execution.sweep import by_setting_and_seed
from rpo_jax.settings.grid import settings_list

tried = settings(deadline=None, max_examples=60)

# Lowest and highest number allowed; `above` excludes the lowest, `infinite` includes inf.
RANGES = {
    "learning_rate": {"low": 0},
    "value_learning_rate": {"low": 0},
    "gamma": {"low": 0, "high": 1},
    "gae_lambda": {"low": 0, "high": 1},
    "clip_epsilon": {"above": 0},
    "value_coefficient": {"low": 0},
    "entropy_coefficient": {"low": 0},
    "max_grad_norm": {"above": 0, "infinite": True},
    "rpo_alpha": {"low": 0},
    "rpo_alpha_end": {"low": 0},
    "target_kl": {"above": 0, "infinite": True},
    "adam_epsilon": {"above": 0},
    "observation_clip": {"above": 0, "infinite": True},
    "reward_clip": {"above": 0, "infinite": True},
    "augmentation_low": {"low": 0},
    "augmentation_high": {"low": 0},
    "drac_coefficient": {"low": 0},
    "log_std": {},
    "min_log_std": {},
}
INFINITE = sorted(name for name, allowed in RANGES.items() if "infinite" in allowed)
names = st.sampled_from(sorted(RANGES))
sizes = st.integers(1, 300)


def is_allowed(name: str, x: float) -> bool:
    allowed = RANGES[name]
    if math.isnan(x) or (x == math.inf and "infinite" not in allowed):
        return False
    return allowed.get("low", -math.inf) <= x <= allowed.get("high", math.inf) and x > allowed.get("above", -math.inf)


def is_refused(make) -> bool:
    """Whether it raises a SettingsError, in one line; any other error passes through."""
    try:
        make()
    except SettingsError as error:
        return "\n" not in str(error)
    return False


# TrainConfig


def sized(num_steps: int, num_envs: int, num_minibatches: int, shuffle: Any, total: int | None = None) -> TrainConfig:
    """A config of these sizes, whose minibatches may hold a single sample."""
    return TrainConfig(
        total or num_steps * num_envs,
        num_envs,
        num_steps,
        num_minibatches=num_minibatches,
        shuffle=shuffle,
        normalize_advantages="none",
    )


@tried
@given(sizes, sizes, st.integers(1, 40), st.integers(0, 10**6), st.sampled_from(["samples", "environments"]))
def test_a_config_keeps_its_promises_or_is_refused(num_steps, num_envs, num_minibatches, extra, shuffle):
    total = num_steps * num_envs + extra
    fits = (num_envs if shuffle == "environments" else num_steps * num_envs) % num_minibatches == 0

    def make():
        return sized(num_steps, num_envs, num_minibatches, shuffle, total)

    assert is_refused(make) == (not fits)
    if fits:
        config = make()
        assert config.round_timesteps == num_steps * num_envs
        assert config.num_updates >= 1
        assert config.num_updates * config.round_timesteps <= total < (config.num_updates + 1) * config.round_timesteps
        assert config.round_timesteps % config.num_minibatches == 0
        assert hash(config) == hash(make())
        assert config == make()


def suggestion(num_steps: int, num_envs: int, num_minibatches: int, shuffle: str) -> tuple[int, list[int]]:
    """What the message says does not divide, and the divisors that it names."""
    with pytest.raises(SettingsError) as caught:
        sized(num_steps, num_envs, num_minibatches, shuffle)
    found = re.fullmatch(
        r"num_minibatches=(\d+) does not divide [\w* ]+ = (\d+); the nearest that do are (\d+)(?: and (\d+))?",
        str(caught.value),
    )
    assert found, str(caught.value)
    assert int(found[1]) == num_minibatches
    return int(found[2]), [int(x) for x in found.groups()[2:] if x]


@tried
@given(sizes, sizes, st.integers(2, 500))
@example(1, 1, 2)
@example(7, 1, 500)
def test_indivisible_samples_are_refused_with_the_nearest_divisors(num_steps, num_envs, num_minibatches):
    total = num_steps * num_envs
    assume(total % num_minibatches)
    divisors = [d for d in range(1, total + 1) if total % d == 0]
    below, above = [d for d in divisors if d < num_minibatches], [d for d in divisors if d > num_minibatches]
    assert suggestion(num_steps, num_envs, num_minibatches, "samples") == (total, below[-1:] + above[:1])


@tried
@given(sizes, sizes, st.integers(2, 500))
@example(3, 4, 5)
def test_the_suggested_minibatches_are_accepted_by_either_shuffle(num_steps, num_envs, num_minibatches):
    for shuffle, total in (("samples", num_steps * num_envs), ("environments", num_envs)):
        if total % num_minibatches:
            for number in suggestion(num_steps, num_envs, num_minibatches, shuffle)[1]:
                sized(num_steps, num_envs, number, shuffle)


@tried
@given(sizes, sizes, st.data())
def test_less_than_one_round_is_refused_with_the_number_needed(num_steps, num_envs, data):
    assume(num_steps * num_envs > 1)
    total = data.draw(st.integers(1, num_steps * num_envs - 1))
    with pytest.raises(SettingsError, match=rf"total_timesteps={total} .* {num_steps * num_envs};"):
        TrainConfig(total, num_envs, num_steps, num_minibatches=1, normalize_advantages="none")


NO_WHOLE_NUMBERS = [0, -1, -(10**9), 1.0, 2.5, "8", "", True, False, None, [8], (8,), math.nan, math.inf, 1j]
NO_TUPLES = [[64], "64", 64, None, ("64",), (True,), (None,), ((64,),), (0,), (-1,), (math.nan,), (math.inf,)]
BAD_STATIC = {
    **dict.fromkeys(("total_timesteps", "num_envs", "num_steps", "num_epochs"), NO_WHOLE_NUMBERS),
    "num_minibatches": NO_WHOLE_NUMBERS,
    **{
        name: ["True", "", 0, 1, 1.0, None, [True]]
        for name in (
            "bessel_correction",
            "clip_value_loss",
            "deterministic",
            "normalize_observations",
            "normalize_rewards",
            "perturb_rollout",
        )
    },
    "reset_every_round": ["True", 0, 1, None],
    **{
        name: ["x", "", 0, None, True, ["samples"], ("tanh",)]
        for name in (
            "shuffle",
            "normalize_advantages",
            "learning_rate_schedule",
            "activation",
            "weight_init",
            "matmul_precision",
            "std",
        )
    },
    "hidden_sizes": [*NO_TUPLES, (64.0,), (64, 32.5)],
    "policy_observation_scale": [*NO_TUPLES, (1.0, 0.0), (1.0, -8.0)],
    "value_observation_scale": [*NO_TUPLES, (1.0, 0.0), (1.0, -8.0)],
}


def test_every_static_setting_is_tried():
    assert set(BAD_STATIC) == {field.name for field in dataclasses.fields(TrainConfig)}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_STATIC.items() for value in values])
def test_a_static_setting_of_the_wrong_kind_or_range_is_refused(name, value):
    with pytest.raises(SettingsError, match=name):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shuffle", "samples"),
        ("shuffle", "environments"),
        ("normalize_advantages", "minibatch"),
        ("normalize_advantages", "round"),
        ("normalize_advantages", "none"),
        ("learning_rate_schedule", "constant"),
        ("activation", "swish"),
        ("weight_init", "uniform"),
        ("matmul_precision", "highest"),
        ("std", "state"),
        ("hidden_sizes", ()),
        ("hidden_sizes", (1, 2, 3)),
        ("policy_observation_scale", (1, 0.5)),
        ("reset_every_round", True),
    ],
)
def test_documented_choices_are_accepted(name, value):
    assert getattr(TrainConfig(**{name: value}), name) == value


# Hyperparams


def test_every_hyperparameter_is_tried():
    assert set(RANGES) == {field.name for field in dataclasses.fields(Hyperparams)}


@tried
@given(names, st.floats() | st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0]) | st.integers(-3, 3))
@example("gamma", 1.0000001)
@example("adam_epsilon", 5e-324)
def test_a_number_is_accepted_just_where_documented(name, value):
    allowed = is_allowed(name, value)
    assert is_refused(lambda: Hyperparams(**{name: value})) != allowed
    assert is_refused(lambda: check_hyperparams(dataclasses.replace(Hyperparams(), **{name: np.array([value])}))) != (
        allowed
    )


@pytest.mark.parametrize("name", RANGES)
def test_infinity_is_accepted_just_where_documented(name):
    assert INFINITE == ["max_grad_norm", "observation_clip", "reward_clip", "target_kl"]
    assert is_refused(lambda: Hyperparams(**{name: math.inf})) == (name not in INFINITE)
    assert is_refused(lambda: grid(**{name: [math.inf]})) == (name not in INFINITE)
    for value in (-math.inf, math.nan, *([-1e-3] if RANGES[name] else [])):
        assert is_refused(lambda value=value: Hyperparams(**{name: value}))
        assert is_refused(lambda value=value: grid(**{name: [0.5, value]}))


@pytest.mark.parametrize("value", ["0.5", "", True, False, [0.5], (0.5,), None, 1j, b"1", {}], ids=repr)
def test_a_hyperparameter_that_is_no_number_is_refused_before_training(value):
    accepted = [name for name in RANGES if not is_refused(lambda name=name: grid(Hyperparams(**{name: value})))]
    assert accepted == (["value_learning_rate", "rpo_alpha_end"] if value is None else [])


def test_the_complaint_shows_the_number_as_it_was_given():
    with pytest.raises(SettingsError, match=re.escape("gamma=1.0000001 ")):
        Hyperparams(gamma=1.0000001)
    with pytest.raises(SettingsError, match=re.escape("total_timesteps=-1234567 ")):
        TrainConfig(total_timesteps=-1234567)


def test_defaults_are_the_papers():
    assert Hyperparams() == Hyperparams(
        3e-4, None, 0.99, 0.95, 0.2, 0.5, 0.0, 0.5, 0.5, None, math.inf, 1e-5, observation_clip=10.0, reward_clip=10.0
    )


def test_hyperparams_pass_through_jit_vmap_and_tree_map():
    base = dataclasses.replace(Hyperparams(), value_learning_rate=1e-3, rpo_alpha_end=0.1)
    assert len(jax.tree.leaves(base)) == len(RANGES)
    assert len(jax.tree.leaves(Hyperparams())) == len(RANGES) - 2

    def double_alpha(hyperparams):
        return dataclasses.replace(hyperparams, rpo_alpha=2 * hyperparams.rpo_alpha)

    assert jax.jit(double_alpha)(base).rpo_alpha == 1.0
    many = jax.jit(jax.vmap(double_alpha))(grid(base, rpo_alpha=[0.1, 0.2, 0.3]))
    np.testing.assert_allclose(many.rpo_alpha, [0.2, 0.4, 0.6], rtol=1e-6)
    np.testing.assert_allclose(many.gamma, [0.99] * 3)
    arrays = dataclasses.replace(jax.tree.map(jnp.float32, base), rpo_alpha=jnp.array([0.1, 0.3]))
    axes = jax.tree.map(lambda x: 0 if x.ndim else None, arrays)
    out = jax.vmap(lambda h: h.rpo_alpha + h.gamma, in_axes=(axes,))(arrays)
    np.testing.assert_allclose(out, [1.09, 1.29], rtol=1e-6)
    assert jax.grad(lambda h: -h.gamma * h.rpo_alpha)(jax.tree.map(jnp.float32, base)).gamma == -0.5


def test_placeholders_are_not_validated():
    mark = object()
    for placeholder in (mark, None, jnp.array(-1.0), np.full(3, np.nan), jax.ShapeDtypeStruct((), jnp.float32)):
        marked = jax.tree.map(lambda _, x=placeholder: x, Hyperparams())
        assert marked.gamma is placeholder
    assert jax.eval_shape(lambda h: h, Hyperparams()).gamma.shape == ()


# grid


def test_a_grid_is_all_combinations_and_the_last_name_varies_fastest():
    widths, alphas = [0.1, 0.2], [0.0, 0.3, 0.5]
    hyperparams = grid(Hyperparams(gae_lambda=0.8), clip_epsilon=widths, rpo_alpha=alphas, gamma=0.9)
    combinations = list(itertools.product(widths, alphas))
    np.testing.assert_allclose(hyperparams.clip_epsilon, [a for a, _ in combinations], rtol=1e-6)
    np.testing.assert_allclose(hyperparams.rpo_alpha, [b for _, b in combinations], rtol=1e-6)
    np.testing.assert_allclose(hyperparams.gamma, [0.9] * 6, rtol=1e-6)
    np.testing.assert_allclose(hyperparams.gae_lambda, [0.8] * 6, rtol=1e-6)
    assert {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(hyperparams)} == {((6,), np.dtype("float32"))}


def test_the_order_of_names_is_the_order_of_the_grid():
    one, other = grid(gamma=[0.1, 0.2], rpo_alpha=[1, 2]), grid(rpo_alpha=[1, 2], gamma=[0.1, 0.2])
    np.testing.assert_array_equal(one.rpo_alpha, [1, 2, 1, 2])
    np.testing.assert_array_equal(other.rpo_alpha, [1, 1, 2, 2])


def test_a_grid_of_nothing_is_one_setting():
    assert {leaf.shape for leaf in jax.tree.leaves(grid())} == {(1,)}
    np.testing.assert_allclose(grid().rpo_alpha, [0.5])


@tried
@given(st.dictionaries(names, st.lists(st.floats(0.125, 1, width=32), min_size=1, max_size=3, unique=True), max_size=3))
def test_a_settings_list_holds_the_numbers_of_the_grid(values):
    hyperparams = grid(**values)
    listed = settings_list(hyperparams)
    assert len(listed) == math.prod(len(x) for x in values.values())
    assert [tuple(row[name] for name in values) for row in listed] == [
        tuple(float(str(np.float32(x))) for x in row) for row in itertools.product(*values.values())
    ]
    for index, row in enumerate(listed):
        again = grid(Hyperparams(**row))  # pyright: ignore
        for name in RANGES:
            leaf = getattr(hyperparams, name)
            assert (leaf is None) == (row[name] is None)
            if leaf is not None:
                assert getattr(again, name) == leaf[index]


def test_a_settings_list_is_short_to_read():
    row = settings_list(grid(learning_rate=3e-4, rpo_alpha=0.1))[0]
    assert (row["learning_rate"], row["rpo_alpha"], row["target_kl"]) == (0.0003, 0.1, math.inf)
    assert row["value_learning_rate"] is None


@pytest.mark.parametrize(("name", "near"), [("rpo_alfa", "rpo_alpha"), ("gama", "gamma"), ("clip_eps", "clip_epsilon")])
def test_an_unknown_name_is_refused_with_the_nearest(name, near):
    with pytest.raises(SettingsError, match=rf"{name}.*{near}"):
        grid(**{name: [0.1]})


@pytest.mark.parametrize("value", [[], (), np.zeros(0)])
def test_a_name_without_a_value_is_refused(value):
    with pytest.raises(SettingsError, match="gamma"):
        grid(gamma=value, rpo_alpha=[0.1, 0.2])


@pytest.mark.parametrize("value", ["abc", ["x"], [[0.1], [0.2, 0.3]], [[0.1, 0.2]], [None], [1j], [{}]])
def test_values_that_are_no_numbers_are_refused(value):
    assert is_refused(lambda: grid(gamma=value))


@tried
@given(names, st.floats(allow_nan=False))
@example("adam_epsilon", 1e-50)
@example("learning_rate", 1e39)
@example("clip_epsilon", 1e-46)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_grid_holds_single_precision_numbers_in_range(name, value):
    # Where a number overflows or underflows in single precision, it is the number that trains that counts.
    for make in (lambda: grid(Hyperparams(**{name: value})), lambda: grid(**{name: value})):
        try:
            hyperparams = make()
        except SettingsError:
            continue
        assert is_allowed(name, float(getattr(hyperparams, name)[0]))


@pytest.mark.parametrize("value", [1e39, [0.1, 1e300]])
def test_a_number_too_large_is_refused_without_a_warning(value, recwarn):
    with pytest.raises(SettingsError, match="learning_rate"):
        grid(learning_rate=value)
    assert [str(warning.message) for warning in recwarn] == []


def test_a_base_with_several_settings_is_refused_or_kept():
    base = Hyperparams(rpo_alpha=np.array([0.1, 0.2], np.float32))
    if not is_refused(lambda: grid(base)):
        np.testing.assert_allclose(grid(base).rpo_alpha, [0.1, 0.2])
    assert is_refused(lambda: grid(grid(rpo_alpha=[0.1, 0.2, 0.3]), gamma=[0.8, 0.9]))


# seeds


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 4), st.integers(1, 4))
@example(0, 1)
@example(2**31 - 1, 3)
@example(2**32 - 4, 4)
def test_seeds_are_the_keys_of_their_numbers(first, count):
    keys = seeds(first, count)
    assert keys.shape == (count,)
    for index in range(count):
        expected = jax.random.key(first + index, impl="threefry2x32")
        assert keys.dtype == expected.dtype
        np.testing.assert_array_equal(jax.random.key_data(keys[index]), jax.random.key_data(expected))


@pytest.mark.parametrize(("first", "count"), [(0, 0), (5, -1), (-1, 2), (2**32, 1), (2**32 - 1, 2)])
def test_impossible_seeds_are_refused(first, count):
    with pytest.raises(SettingsError, match="seeds"):
        seeds(first, count)


def test_results_are_by_setting_and_seed():
    runs = np.arange(6)  # the seed varies fastest
    np.testing.assert_array_equal(by_setting_and_seed(runs, 3), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("sizes", [(8, 4, 2, 8, "minibatch"), (1, 1, 1, 1, "minibatch"), (1, 1, 1, 1, "round")])
def test_single_samples_cannot_be_normalised(sizes):
    total, num_envs, num_steps, num_minibatches, how = sizes
    make = partial(TrainConfig, total, num_envs, num_steps, num_minibatches=num_minibatches)
    with pytest.raises(SettingsError, match=f"'{how}' would make the advantage of a single sample 0"):
        make(normalize_advantages=how)
    assert make(normalize_advantages="none").num_updates == 1


def test_what_is_suggested_is_accepted_where_minibatches_are_normalised():
    with pytest.raises(SettingsError, match=r"nearest that do are 24$"):
        TrainConfig(48, 4, 12, num_minibatches=40)
    assert TrainConfig(48, 4, 12, num_minibatches=24)


def test_a_run_of_more_rounds_than_its_counter_holds_is_refused():
    with pytest.raises(SettingsError, match="2\\^31"):
        TrainConfig(10**30)


def test_the_fields_are_documented_in_python():
    for record in (TrainConfig, Hyperparams):
        for field in dataclasses.fields(record):
            assert f"\n        {field.name}: {field.metadata['doc']}\n" in (record.__doc__ or "")


def test_huge_sizes_are_refused_at_once():
    with pytest.raises(SettingsError, match=r"does not divide .*; the nearest that do are 5 and 8"):
        TrainConfig(num_envs=10**18, num_minibatches=7, total_timesteps=10**20)
    with pytest.raises(SettingsError, match=r"does not divide num_steps \* num_envs = \d+$"):
        TrainConfig(num_envs=10**18 + 9, num_steps=1, num_minibatches=10**7, total_timesteps=10**20)  # a prime
