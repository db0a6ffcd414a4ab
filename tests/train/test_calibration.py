"""Calibration: sure and right is 0, sure and wrong is the worst, and both ECEs see what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.train.calibration import calibration, probabilities


def test_a_network_that_is_sure_and_right_has_no_error() -> None:
    labels = np.arange(40) % 4
    assert calibration(50.0 * np.eye(4)[labels], labels) == pytest.approx((0, 0, 0), abs=1e-9)
    assert calibration(50.0 * np.eye(4)[(labels + 1) % 4], labels) == pytest.approx((1, 1, 2), abs=1e-9)


def test_confidence_that_is_accuracy_has_no_error() -> None:
    logits = np.tile(np.log([0.75, 0.25]), (40, 1))
    labels = (np.arange(40) % 4 == 3).astype(np.int64)  # right three times of four
    found = calibration(logits, labels)
    assert found.ece == pytest.approx(0, abs=1e-9)
    assert found.brier == pytest.approx(0.75 * 2 * 0.25**2 + 0.25 * 2 * 0.75**2)


def test_bins_of_equal_count_see_inside_one_of_equal_width() -> None:
    """Confidences between 0.94 and 0.99, the surer half always right, the other at 0.9: one wide bin hides it."""
    confidence = np.linspace(0.94, 0.99, 300)
    labels = np.zeros(300, np.int64)
    labels[:150:10] = 1
    found = calibration(np.log(np.stack([confidence, 1 - confidence], 1)), labels)
    assert found.adaptive_ece > 2 * found.ece


def test_probabilities_do_not_overflow() -> None:
    assert probabilities(np.array([[1e4, 0.0], [-1e4, -1e4]])) == pytest.approx(np.array([[1, 0], [0.5, 0.5]]))
