"""Holds one engine's figures against a budget: met, missed, or not trustworthy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edgekd.budget import Budget
from edgekd.errors import ExitCode, MeasurementError
from edgekd.figure import Figure
from edgekd.gate import check
from edgekd.gate.choice import choose
from edgekd.measure.comparison import fastest_teacher, paired_ratio
from edgekd.measure.decision import GUARD_BAND
from edgekd.profile import EngineRecord, Profile, latency_name
from edgekd.report import Check, Status, Verdict

__all__ = ["Objection", "Objector", "choose", "judge"]


class Objection(NamedTuple):
    """Why a check cannot stand as it is."""

    sentence: str
    contested: bool = False
    """Whether more processes would settle it."""


Objector = Callable[[Check], Objection | None]
"""Looks at a check that was decided; None when it may stand."""

ACCURACY_LIMITS = frozenset({"accuracy_drop", "accuracy_percent", "ece"})
TIMED_LIMITS = frozenset({"latency_ms", "latency_ratio", "first_result_ms", "energy_mj"})
"""Limits on what depends on the state the machine was in."""

_STATUS: dict[ExitCode, Status] = {
    ExitCode.MET: "met",
    ExitCode.BUDGET_MISSED: "missed",
    ExitCode.ACCURACY_MISSED: "missed",
    ExitCode.NOT_TRUSTWORTHY: "not trustworthy",
}


def judge(
    record: EngineRecord,
    profile: Profile,
    budget: Budget,
    figures: Sequence[Figure] = (),
    *,
    reference: EngineRecord | None = None,
    objectors: Sequence[Objector] = (),
    doubts: Sequence[str] = (),
) -> Verdict:
    """Return the verdict on one engine of a profile.

    Latency, cold start, energy and memory are met when the upper bound is within the limit, missed when the lower bound
    is above it, and not trustworthy in between: more processes (the same series extended) then settle it.
    `latency_ratio` is the paired ratio to `reference`, without it to the teacher's fastest fp32 engine. Accuracy and
    calibration are judged by their point estimate on the split they were taken on; intervals are printed beside it.
    `figures` stand in for the record's own of the same name, such as the accuracy on the test split. A check that one
    of the `objectors` objects to is not trustworthy, and with `doubts` nothing is. The exit code follows the precedence
    5 > 4 > 3; `checks` lists all limits. Raises MeasurementError when the profile lacks a figure the budget limits.
    """
    taken = {figure.name: figure for figure in (*record.figures, *figures)}
    unknown = _unpredicted(taken, profile, budget)
    budget = budget.replace(**dict.fromkeys(unknown))
    compared = _reference(reference, profile, budget)
    found = [_trusted(held, profile) for held in _checks(record, taken, compared, budget)]
    checks = tuple(_objected(held, objectors) for held in found)
    reasons = [*_doubts(record, profile, budget, compared), *unknown.values(), *doubts]
    code = ExitCode.NOT_TRUSTWORTHY if reasons else _code(checks)
    remarks = [] if checks else ["the budget gives no limit, so nothing was checked"]
    return Verdict(status=_STATUS[code], exit_code=code, engine=record.key, checks=checks, reasons=(*reasons, *remarks))


def _code(checks: Sequence[Check]) -> ExitCode:
    """Return the exit code by precedence: not trustworthy, accuracy missed, another limit missed, met."""
    if any(held.status == "not trustworthy" for held in checks):
        return ExitCode.NOT_TRUSTWORTHY
    missed = {held.limit_name for held in checks if held.status == "missed"}
    if missed & ACCURACY_LIMITS:
        return ExitCode.ACCURACY_MISSED
    return ExitCode.BUDGET_MISSED if missed else ExitCode.MET


def _checks(
    record: EngineRecord, taken: dict[str, Figure], compared: EngineRecord | None, budget: Budget
) -> Iterable[Check]:
    def of(name: str) -> Figure:
        return _taken(taken, name, record)

    percentile = f"p{budget.percentile:g} is"
    if budget.latency_ms is not None:
        figure = of(latency_name(budget.percentile))
        yield check.bounded(
            "latency_ms", budget.latency_ms, figure, percentile, "ms", guard=GUARD_BAND, extensible=True
        )
    if budget.latency_ratio is not None and compared is not None:
        ratio = paired_ratio(record, compared, budget.percentile, "latency_ratio")
        yield check.bounded(
            "latency_ratio",
            budget.latency_ratio,
            ratio,
            percentile,
            f"of {compared.key}",
            guard=GUARD_BAND,
            extensible=True,
        )
    if budget.first_result_ms is not None:
        figure = of("first_result_ms")
        sentence = "the first result comes after"
        yield check.bounded("first_result_ms", budget.first_result_ms, figure, sentence, "ms", guard=GUARD_BAND)
    if budget.energy_mj is not None:
        yield check.bounded("energy_mj", budget.energy_mj, of("energy_mj"), "energy of one call is", "mJ")
    if budget.accuracy_drop is not None:
        yield check.accuracy_drop(budget.accuracy_drop, of("accuracy_drop"))
    if budget.accuracy_percent is not None:
        yield check.least_accuracy(budget.accuracy_percent, of("accuracy_percent"))
    if budget.ece is not None:
        yield check.calibration(budget.ece, of("ece"))
    if budget.peak_memory_mb is not None:
        yield check.bounded("peak_memory_mb", budget.peak_memory_mb, of("peak_memory_mb"), "peak memory is", "MB")
    if budget.size_mb is not None:
        yield check.exact("size_mb", budget.size_mb, of("size_mb"), "size is", "MB")


def _unpredicted(taken: dict[str, Figure], profile: Profile, budget: Budget) -> dict[str, str]:
    """Return the limits on what nobody can predict, each with the sentence that says so."""
    if profile.origin != "predicted":
        return {}
    limited = [name for name in ("first_result_ms", "energy_mj", "peak_memory_mb") if getattr(budget, name) is not None]
    return {name: f"{name} is known on the device only" for name in limited if name not in taken}


def _trusted(held: Check, profile: Profile) -> Check:
    """Return the check, not trustworthy where it only seems met on another machine; what is counted holds anywhere."""
    if profile.origin == "device" or held.figure.origin == "counted" or held.status == "missed":
        return held
    return held.replace(status="not trustworthy")


def _objected(held: Check, objectors: Sequence[Objector]) -> Check:
    made = [objection for objector in objectors if (objection := objector(held)) is not None]
    if not made:
        return held
    sentence = ", but ".join([held.sentence, *(objection.sentence for objection in made)])
    return held.replace(status="not trustworthy", contested=all(o.contested for o in made), sentence=sentence)


def _doubts(record: EngineRecord, profile: Profile, budget: Budget, compared: EngineRecord | None) -> list[str]:
    """Return why what was measured cannot be believed: another machine, its state, or that of an engine compared."""
    found = [] if profile.origin == "device" else [_not_the_device(profile)]
    if all(getattr(budget, name) is None for name in TIMED_LIMITS):
        return found
    keys = dict.fromkeys([record.key, *([compared.key] if compared is not None else [])])
    of_engines = profile.machine.get("engine_doubts", {})
    machine = profile.machine.get("doubts", [])
    return [*found, *machine, *(f"{key}: {of_engines[key]}" for key in keys if key in of_engines)]


def _not_the_device(profile: Profile) -> str:
    if profile.origin == "predicted":
        return f"not measured on the device: latency is predicted for {profile.target}"
    return f"measured on this {profile.origin}, not on {profile.target}"


def _reference(given: EngineRecord | None, profile: Profile, budget: Budget) -> EngineRecord | None:
    """Return what `latency_ratio` is a ratio to, None where the budget does not limit it."""
    if budget.latency_ratio is None:
        return None
    found = given or fastest_teacher(profile.records, budget.percentile)
    if found is None:
        raise MeasurementError("the budget limits latency_ratio, but the profile holds no fp32 engine of the teacher")
    return found


def _taken(taken: dict[str, Figure], name: str, record: EngineRecord) -> Figure:
    if name not in taken:
        have = ", ".join(sorted(taken)) or "none"
        raise MeasurementError(f"the budget needs {name} of {record.key}, which was not measured; there are: {have}")
    return taken[name]
