"""Absolute limits: milliseconds count on a registered host only, and only as far as its anchor agrees."""

from __future__ import annotations

from edgekd.figure import Figure
from edgekd.gate.verdict import Objection, Objector
from edgekd.measure.decision import GUARD_BAND, at_registered_speed, decide, stands
from edgekd.measure.host import Standing, speed
from edgekd.measure.series import looks_of
from edgekd.measure.statistics import Bounds
from edgekd.profile import EngineRecord, latency_name
from edgekd.report import Check

ABSOLUTE_LIMITS = frozenset({"latency_ms", "first_result_ms", "energy_mj"})


def objector(
    standing: Standing, record: EngineRecord, anchor: EngineRecord | None, percentile: float, *, busy: str = ""
) -> Objector:
    """Return what objects to verdicts on absolute limits that the registered machine would not give.

    `anchor` was measured interleaved with `record`. A verdict on a time stands as `decision.stands` says: when it is
    the same for what the time would be at the registered speed, and the machine has not become slower for a `missed`,
    or faster for a `met`. `busy` says that others computed meanwhile: their use of caches and memory slows an engine
    more, and its tail most, than it slows the anchor's median, so a `missed` does not stand then either. Energy has no
    such correction; it needs the registration alone.
    """

    def objection(held: Check) -> Objection | None:
        if held.limit_name not in ABSOLUTE_LIMITS:
            return None
        if standing.registered is None:
            return Objection("this host is not registered for it")
        if held.limit_name == "energy_mj" or held.status == "not trustworthy" or anchor is None:
            return None
        if busy and held.status == "missed":
            return Objection(f"{busy}, and a 'missed' does not count on a busy machine")
        ratio = speed(anchor, standing.registered)
        if held.limit_name == "latency_ms":
            taken, speeds = record.per_process[latency_name(percentile)], anchor.per_process[latency_name(50)]
            restored = at_registered_speed(taken, speeds, standing.registered, looks_of(record))
        else:
            restored = _divided(held.figure, ratio)
        return _disagreement(held, restored, ratio)

    return objection


def _divided(figure: Figure, ratio: Figure) -> Bounds:
    """Return a time that was not measured interleaved with the anchor at the registered speed, with bounds."""
    lower, upper = _quotient(figure.lower, ratio.upper), _quotient(figure.upper, ratio.lower)
    return Bounds(figure.value / ratio.value, lower, upper, figure.confidence)


def _quotient(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other


def _disagreement(held: Check, restored: Bounds, ratio: Figure) -> Objection | None:
    if stands(held.status, restored, ratio.value, held.limit):
        return None
    figure = held.figure.replace(**restored._asdict())
    there = decide(restored.lower, restored.upper, held.limit, GUARD_BAND)
    why = f"so a '{held.status}' does not count" if there == held.status else f"and then it would be {figure.text()} ms"
    return Objection(
        f"the anchor takes {ratio.text()} times as long as when this host was registered, {why}",
        contested=there in {"not trustworthy", held.status} and restored.upper is not None,
    )
