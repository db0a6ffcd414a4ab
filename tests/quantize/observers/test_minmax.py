from __future__ import annotations

import numpy as np

from edgekd.quantize.observer import create


def test_extremes_are_exact_even_in_batches_that_are_only_sampled() -> None:
    observer = create("minmax")
    values = np.zeros(100_000, np.float32)
    values[12_345], values[54_321] = 7.0, -3.0
    observer.update(values)
    observer.update(np.ones(5, np.float32))
    assert observer.range(255, symmetric=False) == (-3.0, 7.0)
