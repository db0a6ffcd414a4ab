from __future__ import annotations

import torch

from edgekd.quantize.observer import create


def test_extremes_are_exact_even_in_batches_that_are_only_sampled() -> None:
    observer = create("minmax")
    values = torch.zeros(100_000)
    values[12_345], values[54_321] = 7.0, -3.0
    observer.update(values)
    observer.update(torch.ones(5))
    assert observer.range(255, symmetric=False) == (-3.0, 7.0)
