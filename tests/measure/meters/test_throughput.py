from __future__ import annotations

from dataclasses import replace

from edgekd.budget import OperatingPoint
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Setup, create


def test_samples_are_counted_not_calls_and_the_heavy_engine_does_fewer(engines: list[Engine], setup_: Setup) -> None:
    meter = create("throughput", {"processes": 1, "window_s": 0.1})
    one = meter.measure(engines[:2], setup_)
    light, heavy = (one.figures[engine.key][0].value for engine in engines[:2])
    assert light > 1.5 * heavy
    four = meter.measure(engines[:1], replace(setup_, point=OperatingPoint(batch=4)))
    assert four.figures[engines[0].key][0].value > 1.2 * light
