"""The loss and its gradient against a NumPy float64 transcription of the papers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import toys

from rpo_jax import RPO, Hyperparams
from rpo_jax.algorithm.losses import (
    LossNoise,
    clipped_squared_error,
    clipped_surrogate,
    minibatch_loss,
    squared_error,
    standardize,
)
from rpo_jax.algorithm.sharing import AXIS, Share

HYPERPARAMS = Hyperparams(rpo_alpha=1.0, clip_epsilon=0.15, value_coefficient=0.7, entropy_coefficient=0.03)


def rpo_loss(params: Any, agent: Any, batch: Any, offsets: jax.Array, hyperparams: Hyperparams) -> Any:
    return minibatch_loss(params, agent, batch, LossNoise(offsets), hyperparams)


def case(clip: bool = True, perturbed: bool = True, std: str = "shared") -> tuple[Any, ...]:
    """Agent, parameters, a batch [B, ...] and offsets [B, A] for which every branch of the loss has samples."""
    agent = toys.tiny_agent(
        RPO,
        env=toys.counting_env(action_size=3),
        normalize_advantages="none",
        clip_value_loss=clip,
        std=std,
        hidden_sizes=(8, 8),
    )
    batch = toys.random_batch((64,), action_size=3)
    offsets = jnp.asarray(np.random.default_rng(2).uniform(-0.5, 0.5, (64, 3)) * perturbed, jnp.float32)
    params = toys.random_params(agent, scale=0.3)
    # Old values near the new: some within the clip, some outside.
    values = agent.value(params, batch.obs)
    return agent, params, batch._replace(value=values + 0.2 * batch.value), offsets


@pytest.mark.parametrize(("clip", "std"), [(True, "shared"), (False, "shared"), (True, "state")])
def test_loss_and_metrics_equal_the_transcription(clip: bool, std: str) -> None:
    agent, params, batch, offsets = case(clip, std=std)
    loss, metrics = rpo_loss(params, agent, batch, offsets, HYPERPARAMS)
    arguments = oracles.float64((params, batch, offsets))
    expected, expected_metrics = oracles.loss(*arguments, hyperparams=HYPERPARAMS, config=agent.config)
    np.testing.assert_allclose(loss, expected, rtol=2e-5)
    assert metrics.keys() == expected_metrics.keys()
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-5, err_msg=name)
    assert 0.1 < metrics["clip_fraction"] < 0.9


@pytest.mark.parametrize(("clip", "std"), [(True, "shared"), (False, "shared"), (True, "state")])
def test_gradient_equals_that_of_the_transcription(clip: bool, std: str) -> None:
    agent, params, batch, offsets = case(clip, std=std)
    grads = jax.grad(rpo_loss, has_aux=True)(params, agent, batch, offsets, HYPERPARAMS)[0]
    expected = jax.grad(oracles.loss, has_aux=True)(params, batch, offsets, HYPERPARAMS, agent.config, xp=jnp)[0]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=2e-6), grads, expected)
    assert all(np.abs(g).max() > 1e-4 for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("clip", [True, False])
def test_gradient_equals_finite_differences(clip: bool) -> None:
    agent, params, batch, offsets = case(clip=clip)
    grads = jax.grad(rpo_loss, has_aux=True)(params, agent, batch, offsets, HYPERPARAMS)[0]
    params, grads, batch, offsets = oracles.float64((params, grads, batch, offsets))
    random = np.random.default_rng(5)
    for _ in range(8):
        direction = jax.tree.map(lambda p: random.normal(size=p.shape), params)
        low, high = (
            oracles.loss(
                jax.tree.map(lambda p, d, h=h: p + h * d, params, direction), batch, offsets, HYPERPARAMS, agent.config
            )[0]
            for h in (-1e-6, 1e-6)
        )
        slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), grads, direction)))
        np.testing.assert_allclose(slope, (high - low) / 2e-6, rtol=1e-3, atol=1e-4)


def test_the_perturbation_moves_the_policy_loss_alone() -> None:
    agent, params, batch, offsets = case()
    plain = rpo_loss(params, agent, batch, jnp.zeros_like(offsets), HYPERPARAMS)[1]
    perturbed = rpo_loss(params, agent, batch, offsets, HYPERPARAMS)[1]
    assert plain["policy_loss"] != perturbed["policy_loss"]
    assert plain["value_loss"] == perturbed["value_loss"]
    assert plain["entropy"] == perturbed["entropy"]


def test_no_gradient_flows_into_the_policy_where_every_ratio_is_clipped() -> None:
    agent, params, batch, offsets = case()
    # The ratio is far above 1 and the advantage positive.
    batch = batch._replace(log_prob=batch.log_prob - 30.0, advantage=jnp.ones_like(batch.advantage))
    grads = jax.grad(rpo_loss, has_aux=True)(params, agent, batch, offsets, Hyperparams(rpo_alpha=1.0))[0]["params"]
    assert all((g == 0).all() for g in jax.tree.leaves((grads["policy"], grads["log_scale"])))
    assert all((g != 0).any() for g in jax.tree.leaves(grads["value"]))


def test_the_settings_reach_the_loss() -> None:
    agent, params, batch, offsets = case()
    base = rpo_loss(params, agent, batch, offsets, HYPERPARAMS)
    for name, part in (("value_coefficient", "value_loss"), ("entropy_coefficient", "entropy")):
        more = dataclasses.replace(HYPERPARAMS, **{name: getattr(HYPERPARAMS, name) + 1.0})
        loss, _ = rpo_loss(params, agent, batch, offsets, more)
        sign = -1 if part == "entropy" else 1
        np.testing.assert_allclose(loss - base[0], sign * base[1][part], rtol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, -1.2), (0.5, 1.0, -0.5), (1.5, -1.0, 1.5), (0.5, -1.0, 0.8), (1.1, 2.0, -2.2), (1.0, 0.0, 0.0)],
)
def test_the_surrogate_is_clipped_only_where_that_lowers_it(ratio: float, advantage: float, expected: float) -> None:
    loss = clipped_surrogate(jnp.asarray([ratio]), jnp.asarray([advantage]), 0.2)
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "old", "target", "expected"),
    [
        (1.0, 0.0, 2.0, 0.5 * 1.8**2),  # moved too far towards the target: the clipped value counts
        (-1.0, 0.0, 2.0, 0.5 * 3.0**2),  # moved away: the value itself counts
        (0.1, 0.0, 2.0, 0.5 * 1.9**2),  # moved a little: both are the same
    ],
)
def test_the_clipped_value_error_is_the_larger_one(value: float, old: float, target: float, expected: float) -> None:
    error = clipped_squared_error(*(jnp.asarray([x]) for x in (value, old, target)), clip_epsilon=0.2)
    np.testing.assert_allclose(error, [expected], rtol=1e-6)


def test_losses_are_those_of_each_sample() -> None:
    random = np.random.default_rng(0)
    ratio, advantage, value, old, target = random.normal(size=(5, 33))
    near = np.minimum(np.maximum(value, old - 0.3), old + 0.3)
    for loss, expected in [
        (clipped_surrogate, -np.minimum(ratio * advantage, np.minimum(np.maximum(ratio, 0.7), 1.3) * advantage)),
        (squared_error, 0.5 * (value - target) ** 2),
        (clipped_squared_error, 0.5 * np.maximum((value - target) ** 2, (near - target) ** 2)),
    ]:
        inputs = {
            clipped_surrogate: (ratio, advantage, 0.3),
            squared_error: (value, target),
            clipped_squared_error: (value, old, target, 0.3),
        }[loss]
        result = loss(*(jnp.asarray(x, jnp.float32) for x in inputs))
        np.testing.assert_allclose(result.mean(), expected.mean(), rtol=1e-5)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-9)  # an error of rounding in a difference


@pytest.mark.parametrize("correction", [False, True])
def test_standardized_numbers_have_mean_0_and_deviation_1(correction: bool) -> None:
    x = np.random.default_rng(0).normal(5.0, 3.0, (8, 9)).astype(np.float32)
    found = standardize(jnp.asarray(x), bessel_correction=correction)
    np.testing.assert_allclose(found, (x - x.mean()) / x.std(ddof=int(correction)), rtol=1e-4, atol=1e-5)
    rows = standardize(jnp.asarray(x), axis=-1, bessel_correction=correction)
    expected = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True, ddof=int(correction))
    np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-5)
    parts = jax.vmap(lambda part: standardize(part, Share(4), None, correction), axis_name=AXIS)(x.reshape(4, 18))
    np.testing.assert_allclose(parts.reshape(8, 9), found, rtol=1e-4, atol=1e-5)


def test_standardizing_equal_numbers_gives_zeros() -> None:
    np.testing.assert_array_equal(standardize(jnp.full(7, 0.5)), np.zeros(7))
