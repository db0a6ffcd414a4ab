from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from edgekd.errors import MeasurementError
from edgekd.measure.statistics import (
    accuracy_bounds,
    bound_rank,
    drop_bounds,
    median_bounds,
    percentile_of,
    percentiles_of,
    ratio_bounds,
    samples_needed,
)


@pytest.mark.parametrize(
    ("percentile", "at_99", "at_95"),
    [(50, 11, 8), (90, 64, 46), (95, 130, 93), (99, 662, 473), (99.9, 6636, 4742)],
)
def test_samples_needed_are_the_published_ones(percentile: float, at_99: int, at_95: int) -> None:
    assert samples_needed(percentile, 0.99) == at_99
    assert samples_needed(percentile, 0.95) == at_95


def test_a_percentile_below_its_count_is_refused() -> None:
    with pytest.raises(MeasurementError, match="at least 64"):
        percentile_of(range(63), 90)
    assert percentile_of(list(reversed(range(64))), 90) == percentile_of(range(64), 90)


def test_percentiles_are_of_type_8() -> None:
    """Position (n + 1/3) p + 1/3, counted from 1 (Hyndman and Fan 1996)."""
    assert percentile_of(range(1, 101), 90) == pytest.approx((100 + 1 / 3) * 0.9 + 1 / 3)
    assert percentile_of(range(1, 12), 50) == 6


@pytest.mark.parametrize(("percentile", "runs"), [(50, 16), (90, 64), (95, 144), (99, 672)])
def test_one_process_is_as_often_above_the_true_percentile_as_below(percentile: float, runs: int) -> None:
    times = np.random.default_rng(0).exponential(size=(4000, runs))
    truth = -np.log(1 - percentile / 100)
    assert np.mean(percentiles_of(times, percentile) <= truth) == pytest.approx(0.5, abs=0.025)  # 3 standard errors
    ranked = np.quantile(times, percentile / 100, axis=-1, method="inverted_cdf")  # what nearest rank does
    if percentile == 95:
        assert np.mean(ranked <= truth) > 0.54


def test_eleven_processes_give_the_bound_with_one_exception() -> None:
    bounds = median_bounds([5, 1, 9, 3, 7, 2, 8, 4, 6, 0, 10])
    assert bounds[:3] == (5, 1, 9)
    assert bounds.confidence == pytest.approx(1 - 12 / 2**11)


def test_too_few_processes_give_no_bound() -> None:
    assert median_bounds([3, 1, 2]) == (2, None, None, None)
    assert median_bounds(range(6))[1] is None
    assert median_bounds(range(7))[1:3] == (0, 6)


def _skewed(random: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Return latencies as they are: a long right tail; the median is 1 + exp(-1)."""
    return 1 + np.exp(random.standard_normal(size) - 1)


@pytest.mark.parametrize("processes", [7, 11, 16, 22])
def test_bounds_cover_the_median_of_a_skewed_distribution(processes: int) -> None:
    samples = _skewed(np.random.default_rng(1), (4000, processes))
    truth = 1 + np.exp(-1)
    found = [median_bounds(row) for row in samples]
    assert np.mean([truth > bounds.upper for bounds in found]) <= 0.014  # 1 % + 2.5 standard errors
    assert np.mean([truth < bounds.lower for bounds in found]) <= 0.014


def test_extending_once_keeps_wrong_verdicts_below_one_percent() -> None:
    """The limit is the true median, so each `met` is wrong; whoever ignores the first look exceeds the promise."""
    samples = _skewed(np.random.default_rng(2), (20_000, 22))
    truth = 1 + np.exp(-1)
    first = np.array([median_bounds(row[:11]).upper <= truth for row in samples])
    honest = np.array([median_bounds(row, (11, 22)).upper <= truth for row in samples])
    naive = np.array([median_bounds(row).upper <= truth for row in samples])
    assert np.mean(first | honest) <= 0.01
    assert np.mean(first | naive) > 0.01


_SCHEDULES = [(11, 22), (11, 22, 44, 66), (11, 22, 44, 88, 176, 352), (11, 17, 26, 39, 59), tuple(range(11, 67, 5))]


@pytest.mark.parametrize("looks", _SCHEDULES)
def test_bounds_hold_at_every_look_together(looks: tuple[int, ...]) -> None:
    """Where each value is above the median or below it with equal chance, nothing else matters: bits are enough."""
    above = np.cumsum(np.random.default_rng(5).integers(0, 2, (20_000, looks[-1]), dtype=np.int16), axis=1)
    ever = np.zeros(len(above), bool)
    for number, look in enumerate(looks, 1):
        rank, spent = bound_rank(looks[:number])
        ever |= above[:, look - 1] < rank  # fewer than `rank` above the median: the upper bound is below it
        assert spent <= 0.01
    assert np.mean(ever) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / len(above))
    assert np.mean(ever) > 0.003  # the risk is used, not wasted


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.sampled_from([0.9, 0.95, 0.99, 0.999]))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_the_risk_of_any_looks_is_bounded_exactly(steps: list[int], confidence: float) -> None:
    """How many values lie above the median walks like a fair coin; what crosses a bound is taken out of the walk."""
    looks = tuple(np.cumsum(steps).tolist())
    walk, wrong = np.ones(1), 0.0
    for number, step in enumerate(steps, 1):
        walk = np.convolve(walk, binom.pmf(np.arange(step + 1), step, 0.5))
        rank, spent = bound_rank(looks[:number], confidence)
        wrong += float(walk[:rank].sum())
        walk[:rank] = 0
        assert wrong <= spent * (1 + 1e-9) <= 1 - confidence + 1e-12


@pytest.mark.parametrize("looks", _SCHEDULES)
def test_what_a_look_may_spend_does_not_depend_on_later_ones(looks: tuple[int, ...]) -> None:
    spent = [bound_rank(looks[:number])[1] for number in range(1, len(looks) + 1)]
    assert spent == sorted(spent)
    assert bound_rank((11,))[0] == 2  # one exception
    assert all(bound_rank(looks[:number])[0] > 0 for number in range(1, len(looks) + 1))


def test_later_looks_decide_more() -> None:
    """Spending all that is left at each look, four doublings ended at 18 of 66 values, 25 % wider in normal scores."""
    ranks = [bound_rank((11, 22, 44, 66)[:number])[0] for number in (1, 2, 3, 4)]
    assert ranks == [2, 4, 13, 21]
    assert bound_rank((66,), last=True)[0] == 24  # what a single look would have had


def test_the_confidence_told_counts_every_look() -> None:
    once, twice = median_bounds(range(22)), median_bounds(range(22), (11, 22))
    assert twice.lower < once.lower
    assert twice.upper > once.upper
    assert 0.99 <= twice.confidence < median_bounds(range(11)).confidence


def test_pairing_cancels_the_drift_that_hides_a_difference() -> None:
    random = np.random.default_rng(3)
    drift = np.exp(np.linspace(0, 0.5, 11))
    slow, fast = (cost * drift * (1 + 0.01 * random.standard_normal(11)) for cost in (1.1, 1.0))
    ratio = ratio_bounds(slow, fast)
    assert 1.05 < ratio.lower < ratio.value < ratio.upper < 1.15
    assert median_bounds(slow).lower < median_bounds(fast).upper  # unpaired, nothing could be said


def test_a_ratio_needs_pairs() -> None:
    with pytest.raises(MeasurementError, match="pairs"):
        ratio_bounds([1.0, 2.0], [1.0])


def test_paired_drop_covers_the_truth_and_beats_the_unpaired_width() -> None:
    random = np.random.default_rng(4)
    samples, lost, won = 700, 0.02, 0.01
    truth, missed_low, missed_high = 100 * (lost - won), 0, 0
    for _ in range(2000):
        draw = random.random(samples)
        reference = draw > 0.03
        correct = (reference & (draw < 1 - lost)) | (draw < won)
        bounds = drop_bounds(correct, reference)
        missed_low += truth < bounds.lower
        missed_high += truth > bounds.upper
    assert missed_low / 2000 <= 0.065  # 5 % + 3 standard errors
    assert missed_high / 2000 <= 0.065
    unpaired = 1.645 * 100 * np.sqrt(2 * 0.97 * 0.03 / samples)
    assert bounds.upper - bounds.value < unpaired


def test_drop_is_counted_in_points_and_signed() -> None:
    reference = np.array([True] * 9 + [False])
    correct = np.array([True] * 7 + [False] * 3)
    assert drop_bounds(correct, reference).value == pytest.approx(20)
    assert drop_bounds(reference, correct).value == pytest.approx(-20)
    same = drop_bounds(reference, reference)
    assert same.value == 0
    assert same.lower < 0 < same.upper


@pytest.mark.parametrize("right", [0, 7, 10])
def test_accuracy_bounds_hold_the_value(right: int) -> None:
    bounds = accuracy_bounds(np.arange(10) < right)
    assert 0 <= bounds.lower <= bounds.value == 10 * right <= bounds.upper <= 100
    assert bounds.upper - bounds.lower > 10
