from __future__ import annotations

import numpy as np
import pytest

from edgekd.quantize.observer import create


def observed(values: np.ndarray, levels: int, *, symmetric: bool = False) -> tuple[float, float]:
    observer = create("entropy")
    observer.update(values.astype(np.float32))
    return observer.range(levels, symmetric=symmetric)


def test_a_few_outliers_are_cut_off_and_a_full_range_is_kept() -> None:
    random = np.random.default_rng(0)
    values = np.abs(random.standard_normal(8000))
    values[:3] = 40.0
    low, high = observed(values, 255)
    assert low == 0.0
    assert 2.5 < high < 20.0
    assert observed(random.random(8000), 255)[1] == pytest.approx(1.0, abs=0.01)


def test_both_ends_are_cut_at_the_same_distance() -> None:
    values = np.random.default_rng(0).laplace(size=8000)
    values[0], values[1] = 50.0, -60.0
    low, high = observed(values, 255, symmetric=True)
    assert low == -high
    assert high < 30.0
