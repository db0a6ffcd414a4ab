"""What bounds say about a limit: gate on the upper, fail on the lower, do not know in between."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.measure.statistics import CONFIDENCE, Bounds, ratio_bounds
from edgekd.report import Status

GUARD_BAND = 0.005
"""How far outside the bounds of a *time* a limit must lie, as a share of it (guard band: JCGM 106:2012, section 8.3).

Confidence bounds know what scatters, not what is shifted. Where processes are of two kinds and the percentile of each
is itself uncertain, the median over processes is shifted, by up to 0.5 % in docs/gate-study.md, however many there are.
"""

TOLERANCE = 0.02
"""How much slower or faster than registered a machine may be before verdicts that this would explain do not count."""
REGISTERED_PROCESSES = 132
"""How many processes the anchor is measured in when a machine is registered: twice what a gate of a minute has, because
the width of its bounds is part of every absolute verdict on that machine."""


def decide(lower: float | None, upper: float | None, limit: float, guard: float = 0.0) -> Status:
    """Return `met` when the upper bound is within the limit, `missed` when the lower one is above it, else neither.

    Each bound holds by itself (one-sided, 99 %), so each kind of wrong verdict has that probability, not their sum.
    `guard` is the guard band, `GUARD_BAND` for times; none for what is counted. A bound may be None: then nothing is
    known on its side.
    """
    if upper is not None and upper * (1 + guard) <= limit:
        return "met"
    if lower is not None and lower * (1 - guard) > limit:
        return "missed"
    return "not trustworthy"


def at_registered_speed(
    latencies: Sequence[float],
    anchors: Sequence[float],
    registered: Bounds,
    looks: Sequence[int] = (),
    confidence: float = CONFIDENCE,
) -> Bounds:
    """Return what the latency would be on the machine as it was registered, with bounds.

    `latencies` and `anchors` are one value a process, measured interleaved; `registered` is the anchor's median over
    processes when the machine was registered, with its bounds: their width is an uncertainty like any other. Latency
    divided by anchor, times the registered anchor: what slows both alike cancels. A bound is None where one of the two
    has none. Raises MeasurementError when the processes are no pairs.
    """
    ratio = ratio_bounds(latencies, anchors, looks, confidence)
    return Bounds(
        ratio.value * registered.value,
        _product(ratio.lower, registered.lower),
        _product(ratio.upper, registered.upper),
        ratio.confidence,
    )


def decide_anchored(
    measured: Bounds, restored: Bounds, speed: float, limit: float, guard: float = GUARD_BAND
) -> Status:
    """Return the verdict on an absolute latency: that of the milliseconds as measured, where it `stands`."""
    status = decide(measured.lower, measured.upper, limit, guard)
    return status if stands(status, restored, speed, limit, guard) else "not trustworthy"


def stands(status: Status, restored: Bounds, speed: float, limit: float, guard: float = GUARD_BAND) -> bool:
    """Return whether the anchor leaves a verdict on milliseconds standing.

    `restored` is `at_registered_speed`, `speed` the anchor's median now, divided by its registered one. The verdict
    must be the same for what the engine would take at the registered speed: a tolerance alone ("2 % slower does not
    count") lets an engine 1 % under its limit fail on a machine 1.5 % slower, surely so with enough processes. And a
    `missed` on a machine slower by more than `TOLERANCE`, a `met` on a faster one, does not stand even then: the larger
    the change, the less the anchor tells of what it did to the engine.
    """
    if (status == "missed" and speed > 1 + TOLERANCE) or (status == "met" and speed < 1 - TOLERANCE):
        return False
    return status == decide(restored.lower, restored.upper, limit, guard)


def _product(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one * other
