"""Statistics equal what can be worked out by hand, or what another program finds."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from rpo_jax.analysis.intervals import bootstrap
from rpo_jax.analysis.sensitivity import effective_dimensionality, normalize_scores, sensitivity
from rpo_jax.analysis.statistics import (
    difference_of_means,
    interquartile_mean,
    mean_of_seeds,
    performance_profile,
    probability_of_improvement,
    ratio_of_differences,
    sample_efficiency,
)
from rpo_jax.analysis.verdict import judge

RANDOM = np.random.default_rng(3)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end() -> None:
    assert interquartile_mean(np.array([[-1e9, 2.0], [4.0, 1e9]])) == 3
    assert interquartile_mean(np.arange(8.0)) == np.mean([2, 3, 4, 5])


def test_the_probability_of_improvement_is_that_of_the_rank_test() -> None:
    ours, theirs = RANDOM.integers(0, 6, (7, 3)).astype(float), RANDOM.integers(0, 6, (9, 3)).astype(float)
    tests: list[Any] = [stats.mannwhitneyu(x, y) for x, y in zip(ours.T, theirs.T, strict=True)]
    expected = np.mean([test.statistic for test in tests]) / (7 * 9)
    assert probability_of_improvement(ours, theirs) == pytest.approx(expected)
    assert probability_of_improvement(ours[:, 0], ours[:, 0]) == 0.5


def test_a_profile_is_one_minus_the_distribution_function() -> None:
    scores, thresholds = RANDOM.normal(size=(5, 4)), np.linspace(-2, 2, 7)
    expected = 1 - stats.ecdf(scores.ravel()).cdf.evaluate(thresholds)
    np.testing.assert_allclose(performance_profile(scores, thresholds), expected)


def test_a_bootstrap_interval_is_that_of_scipy() -> None:
    scores, others = RANDOM.normal(1, 1, 20), RANDOM.gamma(2, 1, 15)

    def difference(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean(x, axis) - np.mean(y, axis)

    found = bootstrap(difference, scores, others, resamples=20_000)
    expected = stats.bootstrap((scores, others), difference, method="percentile", n_resamples=20_000, rng=0)
    bounds = expected.confidence_interval
    np.testing.assert_allclose([found.low, found.high], [bounds.low, bounds.high], atol=0.02)
    assert found.value == scores.mean() - others.mean()


def test_seeds_of_each_task_are_drawn_separately() -> None:
    """The mean of T tasks is then less uncertain than that of one; drawn together it is not."""
    scores = np.repeat(RANDOM.normal(size=(10, 1)), 16, axis=1)
    widths = [
        found.high - found.low for found in (bootstrap(np.mean, scores, stratified=choice) for choice in (True, False))
    ]
    assert widths[1] / widths[0] == pytest.approx(4, rel=0.1)
    at_points = bootstrap(lambda x: x.mean(0), scores, stratified=False)
    assert np.ptp(at_points.low) == np.ptp(at_points.high) == 0


def test_the_interval_of_a_difference_holds_it_in_19_of_20_cases_of_few_seeds_too() -> None:
    held = []
    for _ in range(2000):
        found = difference_of_means(RANDOM.normal(1, 1, 4), RANDOM.normal(0, 3, 5))
        held.append(found.low < 1 < found.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
    same = difference_of_means(np.ones(3), np.zeros(3))
    assert same.low == same.high == 1
    equal = difference_of_means(np.full(3, 0.1), np.full(4, 0.1))  # whose means differ in the last bit
    assert equal.low == equal.value == equal.high == 0
    one = difference_of_means(np.array([1.0]), np.array([2.0, 2.5]))
    assert (one.low, one.value, one.high) == (-np.inf, -1.25, np.inf)


def test_a_sample_efficiency_curve_is_the_interquartile_mean_at_each_point() -> None:
    """By hand; the runs of a task are drawn together at all points, and those of each task for themselves."""
    curves, others = np.array([[0.0, 10], [1, 11], [2, 12]]), np.array([[3.0, 13]])
    found = sample_efficiency(curves, others)
    np.testing.assert_array_equal(found.value, [1.5, 11.5])
    np.testing.assert_allclose(found.low, found.high - (found.high - found.low)[0])
    np.testing.assert_allclose(found.low[1] - found.low[0], 10)
    assert found.high[0] == (2 + 2) / 2  # the one run of the other task is in every sample, and is trimmed


def test_the_interval_of_a_mean_is_that_of_the_t_test() -> None:
    scores = RANDOM.normal(3, 2, 4)
    expected = stats.ttest_1samp(scores, 0).confidence_interval()
    found = mean_of_seeds(scores)
    np.testing.assert_allclose([found.low, found.high], expected)
    assert found.value == scores.mean()


def test_the_interval_of_a_ratio_of_differences_is_what_the_t_test_does_not_reject() -> None:
    """By trying ratios, and by hand where the second difference is known: it is then the first one's, divided."""
    samples = a, b, c, d = [RANDOM.normal(mean, 1, size) for mean, size in ((3, 4), (1, 5), (9, 6), (2, 3))]
    found = ratio_of_differences(a, b, c, d)
    ratios = np.linspace(-1, 2, 300_001)
    weights = np.array([np.ones_like(ratios), -np.ones_like(ratios), -ratios, ratios])
    apart = sum(weight * x.mean() for weight, x in zip(weights, samples, strict=True))
    variances = np.array([x.var(ddof=1) / len(x) for x in samples])
    terms = np.array([1, 1, found.value**2, found.value**2]) * variances
    freedom = terms.sum() ** 2 / sum(term**2 / (len(x) - 1) for term, x in zip(terms, samples, strict=True))
    held = ratios[2 * stats.t.sf(np.abs(apart) / np.sqrt(variances @ weights**2), freedom) > 0.05]
    np.testing.assert_allclose([found.low, found.high], held[[0, -1]], atol=2e-5)
    known = ratio_of_differences(a, b, np.full(3, 7.0), np.full(3, 2.0))
    expected = difference_of_means(a, b)
    np.testing.assert_allclose(known, np.array(expected) / 5)


def test_a_ratio_is_held_in_19_of_20_cases_and_unbounded_where_it_may_be_anything() -> None:
    held = []
    for _ in range(2000):
        a, b, c, d = (RANDOM.normal(mean, scale, 5) for mean, scale in ((2, 1), (0, 2), (10, 1), (2, 3)))
        found = ratio_of_differences(a, b, c, d)
        held.append(found.low < 2 / 8 < found.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)
    nothing = ratio_of_differences(np.arange(3.0), np.arange(3.0), np.arange(3.0) + 0.1, np.arange(3.0))
    assert (nothing.low, nothing.high) == (-np.inf, np.inf)
    same = ratio_of_differences(np.full(3, 2.0), np.zeros(3), np.full(3, 4.0), np.zeros(3))
    assert same.low == same.high == 0.5
    none = ratio_of_differences(np.arange(3.0), np.zeros(3), np.arange(3.0), np.arange(3.0))
    assert np.isnan(none.value)
    assert (none.low, none.high) == (-np.inf, np.inf)
    single = ratio_of_differences(np.arange(3.0), np.zeros(3), np.array([4.0]), np.zeros(3))
    assert (single.low, single.value, single.high) == (-np.inf, 0.25, np.inf)


def test_a_method_that_lost_runs_is_not_called_better() -> None:
    low, high = np.arange(4.0), np.arange(4.0) + 100
    lost_low, lost_high = (np.append(x, np.nan) for x in (low, high))
    assert [judge(*both).better for both in ((high, low), (low, high), (low, low))] == [1, -1, 0]
    assert [judge(*both).better for both in ((high, lost_low), (lost_low, high))] == [1, -1]
    found = judge(lost_high, low)
    assert (found.sign, found.better, found.diverged) == (1, 0, (1, 0))
    assert found.difference == judge(high, low).difference
    assert judge(np.array([1.0, 2.0, np.nan]), high).difference is None


# Two environments and two hyperparameters, of 2 and 3 values.
SCORES = np.array([[[0.0, 1.0, 0.2], [0.3, 0.4, 0.1]], [[0.1, 0.2, 0.9], [0.0, 0.8, 0.3]]])


def test_sensitivity_and_dimensionality_by_hand() -> None:
    """The best for each: 1.0 and 0.9. One for both: [0, 1] and [1, 1] have means 0.6. The second alone tuned: 0.95."""
    assert sensitivity(SCORES) == pytest.approx((1.0 + 0.9) / 2 - 0.6)
    assert effective_dimensionality(SCORES) == 1
    both = SCORES.copy()
    both[1] = [[0.1, 0.2, 0.3], [0.0, 0.4, 0.9]]
    assert effective_dimensionality(both) == 2
    assert sensitivity(SCORES[:1]) == effective_dimensionality(SCORES[:1]) == 0
    assert effective_dimensionality(SCORES - 2) == 1  # where 95% of a negative score would be more than it
    with pytest.raises(ValueError, match="NaN"):
        effective_dimensionality(np.where(SCORES == 1, np.nan, SCORES))


def test_normalized_scores_have_percentiles_0_and_1() -> None:
    scores = RANDOM.normal(5, [[2], [300]], (2, 101))
    found = normalize_scores(scores)
    np.testing.assert_allclose(np.percentile(found, [5, 95], axis=1), [[0, 0], [1, 1]], atol=1e-12)
    together = normalize_scores(scores[:, :50], scores[:, 50:])
    np.testing.assert_allclose(together, found[:, :50])
    assert (normalize_scores(np.ones((2, 3))) == 0).all()


def test_each_public_function_is_there() -> None:
    from rpo_jax import analysis

    assert all(callable(getattr(analysis, name)) for name in dir(analysis) if not name.startswith("_"))
