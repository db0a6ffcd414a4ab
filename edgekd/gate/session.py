"""`edgekd gate`: one engine held against a budget, here and now, beside a baseline and the anchor."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgekd.budget import Budget
from edgekd.connection.device import named
from edgekd.errors import UsageError
from edgekd.figure import Figure
from edgekd.gate.absolute import ABSOLUTE_LIMITS
from edgekd.gate.attempt import Attempt, Plan, attempt
from edgekd.gate.bench import Asked, Bench, Given, bench
from edgekd.gate.elsewhere import refuse_report
from edgekd.gate.raw import emptied, written
from edgekd.gate.report import GateReport, Measured, OnUntrusted
from edgekd.gate.verdict import ACCURACY_LIMITS
from edgekd.measure import anchor, evaluate, host
from edgekd.measure.engine import Engine
from edgekd.measure.meter import METERS
from edgekd.stage import Progress

TIME_LIMIT_S = 60.0
RAW_FOLDER = Path("edgekd-gate")
_MOST_RETRIES = 2
_NO_LIMITS = frozenset({"percentile", "operating_point"})


def gate(
    engine: str,
    budget: Budget,
    baseline: str | None = None,
    *,
    data: Path | str | None = None,
    shapes: Sequence[str] = (),
    runtime: str | None = None,
    baseline_runtime: str | None = None,
    threads: int | None = None,
    batch: int | None = None,
    device: str | None = None,
    also: Sequence[str] = (),
    on_untrusted: OnUntrusted = "fail",
    time_limit_s: float = TIME_LIMIT_S,
    raw: Path | str = RAW_FOLDER,
    progress: Progress | None = None,
) -> GateReport:
    """Measure the engine at a path and hold it against a budget; `edgekd gate --help` explains every option.

    `time_limit_s` is for the latency series; memory, energy and cold start are measured after it, where they are
    limited or named in `also`. `device` is an address, user@host, or a name of the devices file. The raw JSON lines
    replace those of an earlier gate in the folder `raw`. Raises UsageError, MeasurementError, TargetError,
    ExportError or ResourceError where there cannot be a verdict.
    """
    begin = time.monotonic()
    _refuse_contradictions(budget, baseline, data)
    _refuse_meters(also)
    if baseline is not None:
        refuse_report(Path(baseline), budget.operating_point)
    given = [Given(engine, runtime), *([Given(baseline, baseline_runtime or runtime)] if baseline else [])]
    asked = Asked(
        None if data is None else Path(data), tuple(shapes), threads, batch, None if device is None else named(device)
    )
    point = budget.operating_point if "operating_point" in budget.model_fields_set else None
    with bench(given, asked, point, progress or Progress()) as here:
        retries = [Path(raw) / f"attempt-{number}" for number in range(2, _MOST_RETRIES + 2)]
        places = [emptied(Path(raw), *retries), *retries]
        plan = _planned(here, budget, places[0], tuple(also), time_limit_s)
        attempts = []
        for place in places if on_untrusted == "retry" else places[:1]:
            attempts.append(attempt(plan, place))
            if attempts[-1].verdict.status != "not trustworthy" or plan.standing.doubt:
                break
        return _told(plan, attempts, on_untrusted, places, time.monotonic() - begin)


def _refuse_contradictions(budget: Budget, baseline: str | None, data: Path | str | None) -> None:
    """Raise UsageError for limits that nothing given can be held against."""
    limits = Budget.model_fields.keys() - _NO_LIMITS
    limited = {name for name in limits if getattr(budget, name) is not None}
    if not limited:
        raise UsageError(
            f"the budget gives no limit, so there is nothing to check; possible: {', '.join(sorted(limits))}"
        )
    for name in sorted(limited & {"latency_ratio", "accuracy_drop"}):
        if baseline is None:
            raise UsageError(f"the budget limits {name}, which compares with another engine; name it with --baseline")
    for name in sorted(limited & ACCURACY_LIMITS):
        if data is None:
            raise UsageError(f"the budget limits {name}, which needs labelled inputs; give them with --data FILE.npz")


def _refuse_meters(also: Sequence[str]) -> None:
    """Raise UsageError for a meter that does not exist or is not measured beside the others."""
    for name in also:
        METERS.get(name)
        if name == "latency":
            raise UsageError("latency is measured where it is limited; give a limit, or see edgekd profile")


def _planned(here: Bench, budget: Budget, raw: Path, also: tuple[str, ...], time_limit_s: float) -> Plan:
    anchored = anchor.engine(here.engines[0].runtime, here.folder)
    absolute = any(getattr(budget, name) is not None for name in ABSOLUTE_LIMITS)
    standing = _standing(anchored, here) if absolute else host.Standing()
    if standing.registered is not None:
        host.write_raw(raw / "host.jsonl", anchored.key, standing)
    return Plan(here, budget, anchored, standing, _accuracy(here, budget, raw), also, time_limit_s)


def _standing(anchored: Engine, here: Bench) -> host.Standing:
    device = () if here.device is None else (f"{host.COMMAND} --device {here.device.address}",)
    return host.standing(anchored, here.point, here.connection.probe(), *device)


def _accuracy(here: Bench, budget: Budget, raw: Path) -> dict[str, tuple[Figure, ...]]:
    """Return accuracy and calibration by engine key, nothing without labels; raw lines in answers.jsonl."""
    if here.samples.labels is None and all(getattr(budget, name) is None for name in ACCURACY_LIMITS):
        return {}
    answers = here.answers()
    evaluate.write_raw(raw / "answers.jsonl", answers)
    reference = answers[here.engines[1].key] if len(here.engines) > 1 else None
    return {key: evaluate.figures(found, reference, "device") for key, found in answers.items()}


def _told(
    plan: Plan, attempts: Sequence[Attempt], on_untrusted: OnUntrusted, places: Sequence[Path], seconds: float
) -> GateReport:
    here, last = plan.here, attempts[-1]
    measured = [
        _measured(engine, subject.given, last) for engine, subject in zip(here.engines, here.subjects, strict=True)
    ]
    anchored = _measured(plan.anchored, "shipped with edgekd", last) if plan.anchored.key in last.figures else None
    processes = len(last.series.records[0].per_process["look"]) if last.series is not None else 0
    return GateReport(
        verdict=last.verdict,
        subject=measured[0],
        baseline=measured[1] if len(measured) > 1 else None,
        anchor=anchored,
        operating_point=here.point,
        percentile=plan.budget.percentile,
        inputs=here.samples.origin,
        on_untrusted=on_untrusted,
        attempts=len(attempts),
        processes=processes,
        seconds=round(seconds, 3),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        remarks=last.remarks,
        machine=last.profile.machine,
        versions=last.profile.versions,
        raw=written(*places[: len(attempts)]),
    )


def _measured(engine: Engine, given: str, last: Attempt) -> Measured:
    return Measured(key=engine.key, path=given, digest=engine.digest, figures=last.figures.get(engine.key, ()))
