"""Holds one engine's figures against a budget: met, missed, or not trustworthy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekd.budget import Budget
from edgekd.errors import ExitCode, MeasurementError
from edgekd.figure import Figure
from edgekd.gate.choice import choose
from edgekd.measure.comparison import fastest_teacher, latency_name, paired_ratio
from edgekd.profile import EngineRecord, Profile
from edgekd.report import Check, Status, Verdict

__all__ = ["choose", "judge"]

_STATUS: dict[ExitCode, Status] = {
    ExitCode.MET: "met",
    ExitCode.BUDGET_MISSED: "missed",
    ExitCode.ACCURACY_MISSED: "missed",
    ExitCode.NOT_TRUSTWORTHY: "not trustworthy",
}


def judge(record: EngineRecord, profile: Profile, budget: Budget, figures: Sequence[Figure] = ()) -> Verdict:
    """Return the verdict on one engine of a profile.

    Latency and memory are met when the upper bound is within the limit, missed when the lower bound is above it, and
    not trustworthy in between: more processes (the measure stage run again) then settle it. `latency_ratio` is the
    paired ratio to the teacher's fastest fp32 engine. Accuracy is judged by its point estimate on the split it was
    taken on; the paired interval is printed beside it. `figures` stand in for the record's own of the same name, such
    as the accuracy on the test split. The exit code follows the precedence 5 > 4 > 3; `checks` lists all limits.
    Raises MeasurementError when the profile lacks a figure that the budget limits.
    """
    taken = {figure.name: figure for figure in (*record.figures, *figures)}
    checks = tuple(_trusted(check, profile) for check in _checks(record, taken, profile, budget))
    doubts = _doubts(record, profile, budget)
    code = ExitCode.NOT_TRUSTWORTHY if doubts else _code(checks)
    remarks = [] if checks else ["the budget gives no limit, so nothing was checked"]
    return Verdict(status=_STATUS[code], exit_code=code, engine=record.key, checks=checks, reasons=(*doubts, *remarks))


def _code(checks: Sequence[Check]) -> ExitCode:
    """Return the exit code by precedence: not trustworthy, accuracy missed, another limit missed, met."""
    if any(check.status == "not trustworthy" for check in checks):
        return ExitCode.NOT_TRUSTWORTHY
    missed = {check.limit_name for check in checks if check.status == "missed"}
    if "accuracy_drop" in missed:
        return ExitCode.ACCURACY_MISSED
    return ExitCode.BUDGET_MISSED if missed else ExitCode.MET


def _checks(record: EngineRecord, taken: dict[str, Figure], profile: Profile, budget: Budget) -> Iterable[Check]:
    percentile = f"p{budget.percentile:g}"
    if budget.latency_ms is not None:
        figure = _taken(taken, latency_name(budget.percentile), record)
        yield _bounded("latency_ms", budget.latency_ms, figure, f"{percentile} is", "ms")
    if budget.latency_ratio is not None:
        teacher = _teacher(profile, budget)
        figure = paired_ratio(record, teacher, budget.percentile, "latency_ratio")
        yield _bounded("latency_ratio", budget.latency_ratio, figure, f"{percentile} is", f"of {teacher.key}")
    if budget.accuracy_drop is not None:
        yield _accuracy(budget.accuracy_drop, _taken(taken, "accuracy_drop", record))
    if budget.peak_memory_mb is not None:
        figure = _taken(taken, "peak_memory_mb", record)
        yield _bounded("peak_memory_mb", budget.peak_memory_mb, figure, "peak memory is", "MB")
    if budget.size_mb is not None:
        figure = _taken(taken, "size_mb", record)
        exact = figure.replace(lower=figure.value, upper=figure.value)
        yield _bounded("size_mb", budget.size_mb, exact, "size is", "MB").replace(figure=figure)


def _bounded(name: str, limit: float, figure: Figure, subject: str, unit: str) -> Check:
    """Gate on the upper bound, fail on the lower."""
    tail = f"limit {limit:.3g}"
    status: Status = "not trustworthy"
    if figure.lower is None or figure.upper is None:
        tail += f", and {figure.samples} processes give no bound"
    elif figure.upper <= limit:
        status = "met"
    elif figure.lower > limit:
        status = "missed"
    else:
        tail += ", which lies between the bounds: more processes would settle it"
    contested = status == "not trustworthy" and figure.upper is not None
    check = _check(name, limit, figure, status, f"{subject} {figure.text()} {unit}, {tail}")
    return check.replace(contested=contested)


def _accuracy(limit: float, figure: Figure) -> Check:
    status: Status = "met" if figure.value <= limit else "missed"
    bounds = ""
    if figure.lower is not None and figure.upper is not None and figure.confidence is not None:
        bounds = f" [{figure.lower:+.2f}, {figure.upper:+.2f}; paired, {figure.confidence:.0%}]"
    sentence = (
        f"accuracy drop is {figure.value:.2f}{bounds} points on {figure.samples} inputs, limit {limit:.3g}, "
        "judged by the point estimate"
    )
    return _check("accuracy_drop", limit, figure, status, sentence)


def _check(name: str, limit: float, figure: Figure, status: Status, sentence: str) -> Check:
    return Check(limit_name=name, limit=limit, figure=figure, status=status, sentence=sentence)


def _trusted(check: Check, profile: Profile) -> Check:
    """Return the check, not trustworthy where it only seems met on another machine; what is counted holds anywhere."""
    if profile.origin == "device" or check.figure.origin == "counted" or check.status == "missed":
        return check
    return check.replace(status="not trustworthy")


def _doubts(record: EngineRecord, profile: Profile, budget: Budget) -> list[str]:
    """Return why what was measured cannot be believed: another machine, its state, or that of an engine compared."""
    found = [] if profile.origin == "device" else [f"measured on this {profile.origin}, not on {profile.target}"]
    if budget.latency_ms is None and budget.latency_ratio is None:
        return found
    keys = [record.key]
    if budget.latency_ratio is not None:
        keys.append(_teacher(profile, budget).key)
    of_engines = profile.machine.get("engine_doubts", {})
    machine = profile.machine.get("doubts", [])
    return [*found, *machine, *(f"{key}: {of_engines[key]}" for key in keys if key in of_engines)]


def _teacher(profile: Profile, budget: Budget) -> EngineRecord:
    found = fastest_teacher(profile.records, budget.percentile)
    if found is None:
        raise MeasurementError("the budget limits latency_ratio, but the profile holds no fp32 engine of the teacher")
    return found


def _taken(taken: dict[str, Figure], name: str, record: EngineRecord) -> Figure:
    if name not in taken:
        have = ", ".join(sorted(taken)) or "none"
        raise MeasurementError(f"the budget needs {name} of {record.key}, which was not measured; there are: {have}")
    return taken[name]
