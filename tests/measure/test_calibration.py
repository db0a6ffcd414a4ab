from __future__ import annotations

import numpy as np
import pytest

from edgekd.measure.calibration import ece_bounds, probabilities_of


def test_logits_go_through_softmax_and_probabilities_do_not() -> None:
    logits = np.array([[0.0, np.log(3.0)], [2.0, 2.0], [900.0, -900.0]])
    assert probabilities_of(logits).max(1) == pytest.approx([0.75, 0.5, 1.0])
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    assert probabilities_of(probabilities).max(1) == pytest.approx([0.75, 0.5, 1.0])
    assert (
        probabilities_of(np.array([[0.25, 0.75], [3.0, 1.0]]))[0].max() < 0.7
    )  # one row that is none makes all of them logits


def test_the_error_is_the_weighted_gap_of_the_bins() -> None:
    confidence = np.array([0.9] * 10 + [0.6] * 30 + [1.0])
    correct = np.array([True] * 7 + [False] * 3 + [True] * 18 + [False] * 12 + [True])
    found = ece_bounds(correct, confidence)
    assert found.value == pytest.approx((10 * 0.2 + 30 * 0.0 + 0) / 41)
    assert found.lower <= found.value <= found.upper
    assert found.lower >= 0
    assert ece_bounds(correct, confidence) == found


def test_overconfidence_is_found_within_the_bounds() -> None:
    random = np.random.default_rng(3)
    confidence = random.uniform(0.5, 1, 4000)
    honest = ece_bounds(random.random(4000) < confidence, confidence)
    vain = ece_bounds(random.random(4000) < confidence - 0.2, confidence)
    assert honest.value < 0.03
    assert vain.lower < 0.2 < vain.upper
    assert vain.lower > honest.upper


def test_nobody_right_and_all_sure_is_one() -> None:
    assert ece_bounds(np.zeros(9, bool), np.ones(9)) == (1.0, 1.0, 1.0, 0.95)
