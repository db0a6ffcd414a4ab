from __future__ import annotations

import numpy as np
import pytest

from edgekd.quantize.observer import create


def test_the_rarest_values_are_cut_off() -> None:
    observer = create("percentile", {"percentile": 99.0})
    values = np.linspace(0, 1, 1001, dtype=np.float32)
    values[-1] = 50.0
    observer.update(values)
    low, high = observer.range(255, symmetric=False)
    assert low == 0.0
    assert high == pytest.approx(0.99, abs=0.01)
