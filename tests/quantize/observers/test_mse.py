from __future__ import annotations

import torch

from edgekd.quantize.observer import create

LEVELS = 15  # so few that cutting pays


def error(values: torch.Tensor, low: float, high: float) -> float:
    step = (high - low) / LEVELS
    return float(((values / step).round().clamp(round(low / step), round(high / step)) * step - values).square().mean())


def test_it_beats_the_whole_range_where_there_is_an_outlier() -> None:
    torch.manual_seed(0)
    values = torch.randn(8000).abs()
    values[0] = 6.0
    ranges = {}
    for name in ("mse", "minmax"):
        observer = create(name)
        observer.update(values)
        ranges[name] = observer.range(LEVELS, symmetric=False)
    assert ranges["minmax"] == (0.0, 6.0)
    assert ranges["mse"][1] < 6.0
    assert error(values, *ranges["mse"]) < 0.5 * error(values, *ranges["minmax"])
