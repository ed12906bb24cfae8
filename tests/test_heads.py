"""Action heads against scipy's distributions and numerical integration."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
from scipy import integrate, stats

from rpo_jax import get_variant, make_agent
from rpo_jax.algorithm.heads import HEADS, Head, get_head, squash_to_bounds
from rpo_jax.errors import SettingsError

FAMILIES: dict[str, Any] = {
    "normal": stats.norm,
    "laplace": stats.laplace,
    "gumbel": stats.gumbel_r,
    "normal-then-tanh": stats.norm,
}
LOW, HIGH = np.asarray([-1.0, -2.0, 0.5], np.float32), np.asarray([1.0, 3.0, 0.7], np.float32)
LOC = np.asarray([[0.3, -1.2, 2.0], [0.0, 0.5, -0.7]], np.float32)
LOG_SCALE = np.asarray([-1.0, 0.0, 0.6], np.float32)
SCALE = np.exp(LOG_SCALE.astype(np.float64))
HALF = 0.5 * (HIGH - LOW)


def squashed_log_prob(action: Any, loc: Any, scale: Any, low: Any, high: Any) -> Any:
    """Of an action within the bounds: normal density before the squash, times |dx/da|."""
    unit = 2 * (action - low) / (high - low) - 1
    return stats.norm.logpdf(np.arctanh(unit), loc, scale) - np.log(0.5 * (high - low) * (1 - unit**2))


@pytest.mark.parametrize("name", FAMILIES)
def test_log_prob_entropy_and_mean_are_those_of_scipy(name: str) -> None:
    head, family = get_head(name), FAMILIES[name](LOC.astype(np.float64), SCALE)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    log_prob = head.log_prob(jnp.asarray(LOC), jnp.asarray(LOG_SCALE), jnp.asarray(x), jnp.asarray(HALF))
    np.testing.assert_allclose(log_prob, family.logpdf(x.astype(np.float64)).sum(-1), rtol=1e-5)
    entropy = head.entropy(jnp.asarray(LOC), jnp.asarray(LOG_SCALE), jnp.asarray(HALF))
    np.testing.assert_allclose(entropy, family.entropy().sum(-1), rtol=1e-5)
    np.testing.assert_allclose(head.mean(jnp.asarray(LOC), jnp.asarray(LOG_SCALE)), family.mean(), rtol=1e-5)


def test_tanh_normal_log_prob_is_that_of_the_squashed_action() -> None:
    head = get_head("tanh-normal")
    x = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)
    action = LOW + HALF.astype(np.float64) * (np.tanh(x.astype(np.float64)) + 1)
    log_prob = head.log_prob(jnp.asarray(LOC), jnp.asarray(LOG_SCALE), jnp.asarray(x), jnp.asarray(HALF))
    expected = squashed_log_prob(action, LOC.astype(np.float64), SCALE, LOW, HIGH).sum(-1)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-5)


@pytest.mark.parametrize("dimension", range(3))
def test_tanh_normal_density_integrates_to_1_over_the_bounds(dimension: int) -> None:
    # A grid of actions, dense towards the bounds, where the density has its spikes.
    x = np.linspace(-9, 9, 20_001)
    action = LOW[dimension] + (HIGH[dimension] - LOW[dimension]) / 2 * (np.tanh(x) + 1)
    log_prob = get_head("tanh-normal").log_prob(
        jnp.full((len(x), 1), LOC[0, dimension]),
        jnp.asarray(LOG_SCALE[[dimension]]),
        jnp.asarray(x[:, None], jnp.float32),
        jnp.asarray(HALF[[dimension]]),
    )
    density = np.exp(np.asarray(log_prob, np.float64))
    np.testing.assert_allclose(integrate.trapezoid(density, action), 1.0, atol=5e-4)


@pytest.mark.parametrize("dimension", range(3))
@pytest.mark.parametrize("row", range(2))
def test_tanh_normal_entropy_is_that_of_the_squashed_action(row: int, dimension: int) -> None:
    low, high, loc, scale = LOW[dimension], HIGH[dimension], float(LOC[row, dimension]), SCALE[dimension]

    def integrand(x: float) -> float:
        # -log p(a) under p(x), with log |da/dx| = log half + log(1 - tanh^2 x) in a stable form.
        log_det = np.log(0.5 * (high - low)) + 2 * (np.log(2) - x - np.logaddexp(0.0, -2 * x))
        return stats.norm.pdf(x, loc, scale) * (log_det - stats.norm.logpdf(x, loc, scale))

    expected, _ = integrate.quad(integrand, loc - 12 * scale, loc + 12 * scale, limit=200)
    entropy = get_head("tanh-normal").entropy(
        jnp.full((1, 1), loc), jnp.asarray(LOG_SCALE[[dimension]]), jnp.asarray(HALF[[dimension]])
    )
    np.testing.assert_allclose(entropy[0], expected, atol=2e-3)


def test_squashing_outside_the_policy_leaves_its_density_alone() -> None:
    inputs = tuple(jnp.asarray(x) for x in (LOC, LOG_SCALE, LOC + 0.3, HALF))
    inside, outside = get_head("tanh-normal"), get_head("normal-then-tanh")
    np.testing.assert_array_equal(outside.log_prob(*inputs), get_head("normal").log_prob(*inputs))
    assert (np.abs(inside.log_prob(*inputs) - outside.log_prob(*inputs)) > 0.1).all()


@pytest.mark.parametrize("name", HEADS)
def test_samples_follow_the_family(name: str) -> None:
    family = FAMILIES.get(name, stats.norm)
    noise = np.asarray(get_head(name).noise(jax.random.key(3), (4000, 2)), np.float64)
    for column in noise.T:
        sample = 0.4 + 1.7 * column
        assert stats.kstest(sample, family(0.4, 1.7).cdf).pvalue > 1e-3
        np.testing.assert_allclose(sample.mean(), family(0.4, 1.7).mean(), atol=0.15)
        np.testing.assert_allclose(sample.std(), family(0.4, 1.7).std(), rtol=0.08)
    correlations = np.asarray(np.corrcoef(noise.T))
    assert abs(correlations[0, 1]) < 0.06


@pytest.mark.parametrize("name", HEADS)
def test_the_environment_gets_actions_within_asymmetric_bounds(name: str) -> None:
    head = get_head(name)
    x = np.asarray([[-50.0, -50.0, -50.0], [50.0, 50.0, 50.0], [0.2, -1.5, 0.6]], np.float32)
    action = head.to_env(jnp.asarray(x), jnp.asarray(LOW), jnp.asarray(HIGH))
    clips = name in ("normal", "laplace", "gumbel")
    expected = np.clip(x, LOW, HIGH) if clips else LOW + HALF * (np.tanh(x.astype(np.float64)) + 1)
    np.testing.assert_allclose(action, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(action[:2], [LOW, HIGH], rtol=1e-6)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("extreme", [-40.0, 40.0])
def test_gradients_stay_finite_for_extreme_actions(name: str, extreme: float) -> None:
    head = get_head(name)

    def total(loc: jax.Array, log_scale: jax.Array) -> jax.Array:
        x, half = jnp.full(loc.shape, extreme), jnp.asarray(HALF)
        return (head.log_prob(loc, log_scale, x, half) + head.entropy(loc + extreme, log_scale, half)).sum()

    value, grads = jax.value_and_grad(total, argnums=(0, 1))(jnp.zeros((2, 3)), jnp.zeros(3))
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in grads)


def test_an_unknown_head_names_those_that_are_near() -> None:
    with pytest.raises(SettingsError, match=r"unknown head 'tanhnormal'; did you mean .*tanh-normal"):
        get_head("tanhnormal")
    with pytest.raises(SettingsError, match="known: gumbel, laplace, normal, normal-then-tanh, tanh-normal"):
        get_head("zzz")


def test_squashed_actions_are_never_outside_of_the_bounds() -> None:
    random = np.random.default_rng(0)
    low = random.uniform(-3, 3, 5000).round(2).astype(np.float32)
    high = (low + random.uniform(0.01, 5, 5000).round(2)).astype(np.float32)
    for x in (-20.0, -3.0, 3.0, 20.0):
        action = np.asarray(jax.jit(squash_to_bounds)(jnp.full(5000, x), low, high))
        assert ((low <= action) & (action <= high)).all()


SQUASHED = ("tanh-normal", "normal-then-tanh")
LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("low", "high", "heads", "words"),
    [
        (-LARGEST, LARGEST, SQUASHED, r"a finite width .* toy/counting has \[-3\.40282e\+38, .*action dimension 0"),
        (0.0, np.inf, SQUASHED, r"toy/counting has \[0, inf\] .*; use a head that clips, such as normal"),
        (0.5, 0.5, ("tanh-normal",), r"that differ, and toy/counting has \[0\.5, 0\.5\] .*such as normal"),
    ],
)
def test_bounds_that_cannot_be_squashed_to_are_refused(low, high, heads, words) -> None:
    env = toys.counting_env(low, high)
    for name in HEADS:
        if name in heads:
            with pytest.raises(SettingsError, match=words):
                make_agent(env, config=toys.tiny_config(), head=HEADS[name])
        else:
            make_agent(env, config=toys.tiny_config(), head=HEADS[name])


def test_alpha_in_units_of_a_range_that_overflows_is_refused() -> None:
    with pytest.raises(SettingsError, match="scales alpha by the action range"):
        make_agent(toys.counting_env(-LARGEST, LARGEST), get_variant("rpo-range"), toys.tiny_config())


@pytest.mark.parametrize(
    ("low", "high", "remedy"), [(10.0, 20.0, "--head tanh-normal"), (-np.inf, -50.0, "shift its actions to around 0")]
)
def test_bounds_far_from_0_are_told_once_with_the_remedy(low, high, remedy) -> None:
    env = toys.counting_env(low, high)
    with toys.told(rf"toy/counting has \[{low:g}, {high:g}\] for action dimension 0, far from 0.*{remedy}"):
        make_agent(env, config=toys.tiny_config())
    again = f"{low:g}, {high:g}"
    with pytest.raises(AssertionError, match=r"\[\]"), toys.told(again):
        make_agent(env, config=toys.tiny_config())


@pytest.mark.parametrize(
    ("low", "high", "head"), [(10.0, 21.0, "tanh-normal"), (0.0, 1.0, "normal"), (7.0, 7.0, "normal")]
)
def test_bounds_that_are_reached_are_not_warned_of(low, high, head) -> None:
    with pytest.raises(AssertionError, match=r"\[\]"), toys.told("far from 0"):
        make_agent(toys.counting_env(low, high), config=toys.tiny_config(), head=get_head(head))


def test_a_density_of_another_squashing_is_refused():
    head = Head(distrax.Normal, lambda x, low, high: low + (high - low) * jax.nn.sigmoid(x), squashed=True)
    with pytest.raises(SettingsError, match="density after squash_to_bounds"):
        make_agent(toys.counting_env(), config=toys.tiny_config(), head=head)
