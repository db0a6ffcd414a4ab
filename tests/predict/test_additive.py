from __future__ import annotations

import numpy as np
import pytest

from edgekd.predict.additive import fit_additive

COSTS = np.array([0.5, 0.02, 0.3, 0.0])


def _networks(count: int, seed: int) -> np.ndarray:
    return np.column_stack([np.ones(count), np.random.default_rng(seed).integers(0, 30, (count, 3))]).astype(float)


def test_costs_are_found_again_although_one_network_in_ten_was_disturbed() -> None:
    rows = _networks(100, 0)
    random = np.random.default_rng(1)
    values = rows @ COSTS * np.exp(random.normal(0, 0.01, 100))
    values[:10] *= 1.3
    new = _networks(200, 2)
    np.testing.assert_allclose(new @ fit_additive(rows, values), new @ COSTS, rtol=0.02)


def test_no_part_has_a_negative_cost() -> None:
    rows = _networks(50, 3)
    values = np.maximum(rows @ np.array([10.0, -0.1, 0.2, 0.0]), 0.1)
    assert (fit_additive(rows, values) >= 0).all()


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_units_do_not_matter(factor: float) -> None:
    rows = _networks(40, 4)
    values = rows @ COSTS
    np.testing.assert_allclose(fit_additive(rows, factor * values), factor * fit_additive(rows, values), rtol=1e-6)
    stretched = rows * np.array([1, factor, 1, 1])
    np.testing.assert_allclose(
        stretched @ fit_additive(stretched, values), rows @ fit_additive(rows, values), rtol=1e-6
    )
