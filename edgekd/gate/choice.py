"""Chooses the engine to ship from what was measured: the fastest that keeps the other limits."""

from __future__ import annotations

from collections.abc import Sequence

from edgekd.budget import Budget
from edgekd.errors import EdgekdError
from edgekd.measure.comparison import TEACHER, paired_ratio
from edgekd.profile import EngineRecord, Profile, latency_name

_UPPER_LIMITS = ("first_result_ms", "energy_mj", "peak_memory_mb", "size_mb")

LARGEST_TIE = 1.05
"""A median this much slower is a real difference, however wide the bounds are."""


def choose(profile: Profile, budget: Budget) -> tuple[EngineRecord, str]:
    """Return the engine to ship and the sentence that says why.

    Of the engines that keep the limits of accuracy, cold start, energy, memory and size (or, failing that, of accuracy
    alone) the one with the smallest median latency percentile; where a slower one is so within noise, the one that
    needs less memory. When none keeps the accuracy it is the one that loses least. Raises EdgekdError when nothing was
    measured.
    """
    candidates = _candidates(profile, budget)
    accurate = [record for record in candidates if _is_accurate(record, budget)]
    if not accurate:
        best = min(
            candidates, key=lambda record: (_value(record, "accuracy_drop"), -_value(record, "accuracy_percent"))
        )
        return best, f"no engine keeps the accuracy limit; {best.key} loses least"
    fitting = [r for r in accurate if all(_keeps(r, name, getattr(budget, name)) for name in _UPPER_LIMITS)]
    return _fastest(fitting or accurate, len(candidates), budget)


def _fastest(allowed: Sequence[EngineRecord], among: int, budget: Budget) -> tuple[EngineRecord, str]:
    name, percentile = latency_name(budget.percentile), f"p{budget.percentile:g}"
    fastest = min(allowed, key=lambda record: _value(record, name))
    tied = [record for record in allowed if record is fastest or _as_fast(record, fastest, budget.percentile)]
    best = min(tied, key=lambda record: (_value(record, "peak_memory_mb"), _value(record, name)))
    why = f"{best.key} is the fastest by median {percentile} of {len(allowed)} engines that fit, {among} in all"
    if best is not fastest:
        why = f"{best.key} is as fast as {fastest.key} within noise and needs less memory"
    return best, why


def _candidates(profile: Profile, budget: Budget) -> list[EngineRecord]:
    """Return every measured engine of a compressed network; the teacher's, float ones too, only without any other."""
    measured = [r for r in profile.records if r.figure(latency_name(budget.percentile)) is not None]
    if not measured:
        raise EdgekdError(f"the profile of {profile.target} holds no {latency_name(budget.percentile)} to choose by")
    return [record for record in measured if record.network != TEACHER] or measured


def _as_fast(record: EngineRecord, fastest: EngineRecord, percentile: float) -> bool:
    ratio = paired_ratio(record, fastest, percentile, "ratio")
    return ratio.lower is not None and ratio.lower <= 1 and ratio.value <= LARGEST_TIE


def _is_accurate(record: EngineRecord, budget: Budget) -> bool:
    least = budget.accuracy_percent
    accuracy = record.figure("accuracy_percent")
    enough = least is None or (accuracy is not None and accuracy.value >= least)
    return enough and _keeps(record, "accuracy_drop", budget.accuracy_drop) and _keeps(record, "ece", budget.ece)


def _keeps(record: EngineRecord, name: str, limit: float | None) -> bool:
    return limit is None or _value(record, name) <= limit


def _value(record: EngineRecord, name: str) -> float:
    figure = record.figure(name)
    return figure.value if figure is not None else float("inf")
