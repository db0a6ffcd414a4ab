from __future__ import annotations

import numpy as np
import pytest

from edgekd.predict.fit import fit


def rows(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    size = generator.uniform(1, 10, (count, 1))
    rest = size * generator.uniform(0.5, 2, (count, 4))
    return np.hstack([np.ones((count, 1)), rest])


TRUE = np.array([0.3, 0.05, 0.2, 0.0, 0.1])


def test_is_exact_on_linear_data() -> None:
    x = rows(12)
    found = fit(x, x @ TRUE, always=2)
    assert np.allclose(found.coefficients, TRUE, atol=1e-6)
    assert found.spread < 1e-6


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_engines_are_enough_for_a_prediction(count: int) -> None:
    x = rows(count, seed=count)
    found = fit(x, x @ TRUE, always=2)
    assert (found.coefficients >= 0).all()
    assert found.coefficients[2] > 0
    assert np.allclose(x @ found.coefficients / (x @ TRUE), 1, atol=0.5)


def test_few_engines_predict_a_new_one_within_the_bounds_most_of_the_time() -> None:
    """Sixty families of five noisy engines: the sixth lies inside its 80 % interval in most of them."""
    inside = 0
    for seed in range(60):
        x = rows(6, seed)
        y = x @ TRUE * np.random.default_rng(seed).normal(1, 0.03, 6)
        found = fit(x[:5], y[:5], always=2)
        lower, upper = found.bounds(float(x[5] @ found.coefficients))
        inside += lower <= y[5] <= upper
    assert 38 <= inside <= 58


def test_one_engine_says_how_little_it_knows() -> None:
    found = fit(rows(1), np.array([2.0]), always=2)
    lower, upper = found.bounds(2.0)
    assert lower == 0
    assert upper > 4


def test_the_unit_of_time_does_not_matter() -> None:
    x = rows(5)
    y = x @ TRUE * np.array([1, 1.1, 0.95, 1.02, 0.97])
    assert np.allclose(fit(x, y * 1e-3, always=2).coefficients, fit(x, y, always=2).coefficients * 1e-3)
