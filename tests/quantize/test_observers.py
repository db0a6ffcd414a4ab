"""The contract suite over every observer."""

from __future__ import annotations

import numpy as np
import pytest

from edgekd.errors import UsageError
from edgekd.quantize.observer import OBSERVERS, create

NAMES = OBSERVERS.names()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_range_holds_zero_and_most_of_the_data(name: str, symmetric: bool) -> None:
    random = np.random.default_rng(0)
    observer = create(name)
    batches = [random.standard_normal((16, 4, 5, 5), np.float32) + 1 for _ in range(3)]
    for batch in batches:
        observer.update(batch)
    low, high = observer.range(255, symmetric=symmetric)
    assert low <= 0 <= high
    values = np.concatenate(batches).flatten()
    inside = (values <= max(high, -low if symmetric else high)) & (values >= (-high if symmetric else low))
    assert inside.mean() > 0.99


@pytest.mark.parametrize("name", NAMES)
def test_one_sided_and_constant_data_are_covered(name: str) -> None:
    uniform = np.random.default_rng(0).random(1000, np.float32)
    for data, wanted in ((uniform, (0.0, 1.0)), (-uniform, (-1.0, 0.0))):
        observer = create(name)
        observer.update(data)
        assert observer.range(255, symmetric=False) == pytest.approx(wanted, abs=0.05)
    for value in (0.0, 2.5, -2.5):
        observer = create(name)
        observer.update(np.full(100, value, np.float32))
        low, high = observer.range(255, symmetric=False)
        assert low <= 0 <= high
        # Cutting a constant off is an error of any size; half a step is what rounding costs.
        assert low - 0.02 <= value <= high + 0.02


@pytest.mark.parametrize("name", NAMES)
def test_small_batches_in_any_order_give_the_same_range(name: str) -> None:
    random = np.random.default_rng(0)
    batches = [random.standard_normal(500, np.float32) for _ in range(4)]
    ranges = []
    for order in (batches, batches[::-1]):
        observer = create(name)
        for batch in order:
            observer.update(batch)
        ranges.append(observer.range(255, symmetric=False))
    assert ranges[0] == pytest.approx(ranges[1])


def test_an_unknown_observer_or_option_is_refused() -> None:
    with pytest.raises(UsageError, match=r"minmacs.*minmax"):
        create("minmacs")
    with pytest.raises(UsageError, match="unknown key 'percent'"):
        create("percentile", {"percent": 3})
