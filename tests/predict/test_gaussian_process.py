from __future__ import annotations

import numpy as np
import pytest

from edgekd.errors import EdgekdError
from edgekd.predict.gaussian_process import GaussianProcess, standardised


def _truth(points: np.ndarray) -> np.ndarray:
    return 0.3 * np.sin(3 * points[:, 0]) + 0.2 * points[:, 1]


def _points(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2))


def test_a_smooth_function_is_learned_and_outliers_are_not() -> None:
    points, new = _points(80, 0), _points(200, 1)
    targets = _truth(points) + np.random.default_rng(2).normal(0, 0.01, 80)
    targets[::10] += 1.0
    found = GaussianProcess([points], targets)([new])
    assert np.median(np.abs(found.mean - _truth(new))) < 0.02


@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_intervals_hold_the_share_they_promise(confidence: float) -> None:
    held = []
    for seed in range(12):
        random = np.random.default_rng(100 + seed)
        points, new = _points(60, seed), _points(100, 50 + seed)
        process = GaussianProcess([points], _truth(points) + 0.05 * random.standard_t(3, 60))
        found = process([new])
        missed = np.abs(_truth(new) + 0.05 * random.standard_t(3, 100) - found.mean)
        held.append(np.mean(missed <= process.reach(confidence) * found.deviation))
    assert confidence - 0.06 < np.mean(held) < confidence + 0.08


def test_far_from_every_measured_network_it_says_that_it_knows_little() -> None:
    points = _points(40, 3)
    process = GaussianProcess([points], _truth(points))
    near, far = process([points[:1]]), process([points[:1] + 30])
    assert far.deviation[0] > 3 * near.deviation[0]


def test_too_few_networks_give_no_interval_and_fewer_no_fit() -> None:
    points = _points(5, 4)
    process = GaussianProcess([points], _truth(points))
    assert process.reach(0.9) == float("inf")
    assert np.isfinite(process.reach(0.5))
    with pytest.raises(EdgekdError, match="at least 3 networks; 2 targets"):
        GaussianProcess([points[:2]], _truth(points)[:2])


def test_standardised_features_that_never_change_say_nothing() -> None:
    features = np.column_stack([np.full(6, 7.0), np.arange(6.0)])
    found = standardised(features)
    assert (found[:, 0] == 0).all()
    assert found[:, 1].std() == pytest.approx(1)
