from __future__ import annotations

import numpy as np

from edgekd.quantize.observer import create

LEVELS = 15  # so few that cutting pays


def error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / LEVELS
    integers = (values / step).round().clip(round(low / step), round(high / step))
    return float(np.square(integers * step - values).mean())


def test_it_beats_the_whole_range_where_there_is_an_outlier() -> None:
    values = np.abs(np.random.default_rng(0).standard_normal(8000, np.float32))
    values[0] = 6.0
    ranges = {}
    for name in ("mse", "minmax"):
        observer = create(name)
        observer.update(values)
        ranges[name] = observer.range(LEVELS, symmetric=False)
    assert ranges["minmax"] == (0.0, 6.0)
    assert ranges["mse"][1] < 6.0
    assert error(values, *ranges["mse"]) < 0.5 * error(values, *ranges["minmax"])
