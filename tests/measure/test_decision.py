from __future__ import annotations

import numpy as np
import pytest

from edgekd.errors import MeasurementError
from edgekd.measure.decision import (
    GUARD_BAND,
    at_registered_speed,
    decide,
    decide_anchored,
    stands,
)
from edgekd.measure.statistics import Bounds, median_bounds


@pytest.mark.parametrize(
    ("lower", "upper", "guard", "status"),
    [
        (0.8, 1.0, 0.0, "met"),
        (0.8, 1.0, 0.005, "not trustworthy"),
        (0.8, 0.99, 0.005, "met"),
        (1.0, 1.2, 0.0, "not trustworthy"),
        (1.001, 1.2, 0.0, "missed"),
        (1.001, 1.2, 0.005, "not trustworthy"),
        (1.01, 1.2, 0.005, "missed"),
        (0.9, 1.1, 0.0, "not trustworthy"),
        (None, None, 0.0, "not trustworthy"),
        (1.1, None, 0.0, "missed"),
        (None, 0.9, 0.0, "met"),
    ],
)
def test_gate_on_the_upper_fail_on_the_lower(
    lower: float | None, upper: float | None, guard: float, status: str
) -> None:
    assert decide(lower, upper, 1.0, guard) == status


def _verdict(engine_ms: float, slower: float, processes: int = 22, spread: float = 0.002) -> str:
    """Return the verdict on an engine of that true latency, limit 1 ms, on a machine slower than when registered."""
    random = np.random.default_rng(int(1000 * (engine_ms + slower)))
    engine, anchor = (1 + spread * random.standard_normal((2, processes))) * slower * np.array([[engine_ms], [2.0]])
    registered = median_bounds(2.0 * (1 + spread * random.standard_normal(132)))
    restored = at_registered_speed(engine, anchor, registered)
    assert restored.value == pytest.approx(engine_ms, rel=0.005)
    return decide_anchored(median_bounds(engine), restored, median_bounds(anchor).value / registered.value, 1.0)


@pytest.mark.parametrize(
    ("engine_ms", "slower", "status"),
    [
        (0.97, 1.0, "met"),
        (1.03, 1.0, "missed"),
        (0.95, 1.02, "met"),  # met on a slower machine stands
        (0.99, 1.03, "not trustworthy"),  # looks missed, and would not be
        (0.90, 1.30, "not trustworthy"),
        (1.05, 1.015, "missed"),  # would be missed anyway
        (1.05, 1.03, "not trustworthy"),  # more than 2 % slower: a missed does not stand
        (0.95, 0.97, "not trustworthy"),  # nor a met on a machine that much faster
        (1.05, 0.98, "missed"),  # missed on a faster machine stands
        (1.01, 0.97, "not trustworthy"),  # looks met, and would not be
        (0.95, 0.985, "met"),
    ],
)
def test_a_verdict_in_milliseconds_stands_when_the_anchor_agrees(engine_ms: float, slower: float, status: str) -> None:
    assert _verdict(engine_ms, slower) == status


def test_a_badly_registered_anchor_decides_less() -> None:
    latencies, anchors = [0.97] * 11, [2.0] * 11
    for bounds, status in ((Bounds(2.0, 1.99, 2.01, 0.99), "met"), (Bounds(2.0, 1.9, 2.1, 0.99), "not trustworthy")):
        restored = at_registered_speed(latencies, anchors, bounds)
        assert restored.upper == pytest.approx(0.97 * bounds.upper / 2)
        assert decide_anchored(median_bounds(latencies), restored, 1.0, 1.0) == status


@pytest.mark.parametrize(
    ("status", "speed", "kept"),
    [("met", 1.0, True), ("met", 1.5, True), ("met", 0.99, True), ("met", 0.97, False), ("missed", 1.0, False)],
)
def test_a_verdict_stands_where_the_machine_does_not_explain_it(status: str, speed: float, kept: bool) -> None:
    assert stands(status, Bounds(0.5, 0.5, 0.5, 0.99), speed, 1.0) == kept
    other = {"met": "missed", "missed": "met"}[status]
    assert stands(other, Bounds(1.5, 1.5, 1.5, 0.99), 2 - speed, 1.0) == kept
    assert not stands(status, Bounds(1.0, None, None, None), speed, 1.0)


def test_without_bounds_nothing_is_restored() -> None:
    few = at_registered_speed([1.0] * 3, [2.0] * 3, Bounds(2.0, 1.9, 2.1, 0.99))
    assert few == (1.0, None, None, None)
    unknown = at_registered_speed([1.0] * 11, [2.0] * 11, Bounds(2.0, None, None, None))
    assert (unknown.lower, unknown.upper) == (None, None)
    with pytest.raises(MeasurementError, match="pairs"):
        at_registered_speed([1.0] * 3, [2.0] * 2, Bounds(2.0, 1.9, 2.1, 0.99))


def test_the_guard_band_is_small_beside_what_is_promised() -> None:
    assert 0 < GUARD_BAND < 0.01
