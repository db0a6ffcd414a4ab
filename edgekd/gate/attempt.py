"""One attempt at a verdict: the latency series, the other meters, and the budget held against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.budget import Budget
from edgekd.errors import TargetError
from edgekd.figure import Figure
from edgekd.gate.absolute import objector
from edgekd.gate.bench import Bench
from edgekd.gate.looks import decided_series, remarks
from edgekd.gate.verdict import judge
from edgekd.measure import host, machine
from edgekd.measure.engine import Engine
from edgekd.measure.host import Standing
from edgekd.measure.meter import Reading, create
from edgekd.measure.series import Series
from edgekd.profile import EngineRecord, Profile
from edgekd.report import Verdict

SERIES_LIMITS = frozenset({"latency_ms", "latency_ratio", "first_result_ms"})
METERS: dict[str, tuple[str, dict[str, Any]]] = {
    "first_result_ms": ("cold-start", {"processes": 21}),
    "energy_mj": ("energy", {}),
    "peak_memory_mb": ("memory", {}),
}
"""By limit, which meter measures it and with which options."""


@dataclass(frozen=True)
class Plan:
    """What every attempt of a gate has in common."""

    here: Bench
    budget: Budget
    anchored: Engine
    standing: Standing
    answers: Mapping[str, tuple[Figure, ...]]
    """Accuracy and calibration by engine key."""
    also: tuple[str, ...]
    """Meters that are wanted although nothing of theirs is limited."""
    time_limit_s: float

    @property
    def candidate(self) -> Engine:
        """Return the engine that is judged."""
        return self.here.engines[0]

    @property
    def absolute(self) -> bool:
        """Return whether a limit counts on this host only."""
        return bool(self.standing.doubt) or self.standing.registered is not None

    def limits(self, names: frozenset[str]) -> bool:
        """Return whether the budget limits any of these."""
        return any(getattr(self.budget, name) is not None for name in names)


@dataclass(frozen=True)
class Attempt:
    """What one attempt found."""

    verdict: Verdict
    profile: Profile
    figures: Mapping[str, tuple[Figure, ...]]
    """By engine key, the latest of each name."""
    remarks: tuple[str, ...]
    series: Series | None


def attempt(plan: Plan, raw: Path) -> Attempt:
    """Measure what is limited or wanted, and judge; raises what the measurements raise."""
    series = _series(plan, raw / "latency.jsonl") if plan.limits(SERIES_LIMITS) else None
    readings = _readings(plan, raw)
    profile = _profile(plan, series)
    figures = {record.key: _merged(record, plan, readings) for record in profile.records}
    verdict = _judged(plan, series, plan.budget, figures[plan.candidate.key], _leaks(plan, readings))
    said = [*_elsewhere(plan.here), *(remarks(plan.here, series) if series is not None else [])]
    said += [remark for reading in readings.values() for remark in reading.remarks]
    return Attempt(verdict, profile, figures, tuple(dict.fromkeys(said)), series)


def _elsewhere(here: Bench) -> list[str]:
    """Return a remark where a bundle was made for another device than this machine."""
    manifest = here.subjects[0].manifest
    host = here.connection.target() or "no target edgekd knows"
    if manifest is None or manifest.target == host:
        return []
    return [f"the bundle was made for {manifest.target}, and {here.connection.name} is {host}"]


def _series(plan: Plan, raw: Path) -> Series:
    engines = (*plan.here.engines, plan.anchored)
    timed = plan.budget.replace(**{name: None for name in Budget.model_fields if name not in _KEPT})
    return decided_series(
        plan.here,
        engines,
        plan.budget.percentile,
        raw,
        limit_s=plan.time_limit_s,
        contested=lambda found: any(check.contested for check in _judged(plan, found, timed, ()).checks),
        extend=not plan.standing.doubt,
    )


_KEPT = frozenset({"latency_ms", "latency_ratio", "percentile", "operating_point"})
"""What of the budget the looks at a series are about."""


def _judged(
    plan: Plan,
    series: Series | None,
    budget: Budget,
    figures: Sequence[Figure],
    doubts: Sequence[str] = (),
) -> Verdict:
    profile = _profile(plan, series)
    found = {record.key: record for record in profile.records}
    record = found[plan.candidate.key]
    objectors = []
    if plan.absolute:
        busy = machine.others([profile.machine["before"], profile.machine["after"]]) if series is not None else ""
        anchored = found.get(plan.anchored.key)
        objectors.append(objector(plan.standing, record, anchored, budget.percentile, busy=busy))
    reference = found[plan.here.engines[1].key] if len(plan.here.engines) > 1 else None
    why = [plan.standing.doubt] if plan.standing.doubt else []
    restless = profile.machine["engine_doubts"].get(plan.anchored.key)
    if plan.absolute and restless:
        why.append(f"{plan.anchored.key}: {restless}")
    return judge(record, profile, budget, figures, reference=reference, objectors=objectors, doubts=(*why, *doubts))


def _readings(plan: Plan, raw: Path) -> dict[str, Reading]:
    """Return what the other meters found of the engine that is judged, by the meter's name."""
    wanted = dict.fromkeys(plan.also, None) | {"size": None}
    options: dict[str, dict[str, Any]] = {}
    for limit, (name, chosen) in METERS.items():
        if getattr(plan.budget, limit) is not None:
            wanted[name] = None
            options[name] = chosen
    setup = plan.here.setup(plan.budget.percentile, raw)
    both = {"size", *plan.also}
    readings = {
        name: create(name, options.get(name)).measure(plan.here.engines if name in both else [plan.candidate], setup)
        for name in wanted
    }
    if plan.budget.energy_mj is not None and not readings["energy"].figures[plan.candidate.key]:
        raise TargetError(f"the budget limits energy_mj, but {'; '.join(readings['energy'].remarks)}")
    return readings


def _merged(record: EngineRecord, plan: Plan, readings: Mapping[str, Reading]) -> tuple[Figure, ...]:
    """Return all figures of an engine; what a meter measured alone stands in for what the series saw beside others."""
    measured = [figure for reading in readings.values() for figure in reading.figures.get(record.key, ())]
    anchored = []
    if record.key == plan.anchored.key and plan.standing.registered is not None and record.figures:
        anchored = [host.speed(record, plan.standing.registered)]
    every = (*record.figures, *measured, *plan.answers.get(record.key, ()), *anchored)
    return tuple({figure.name: figure for figure in every}.values())


def _leaks(plan: Plan, readings: Mapping[str, Reading]) -> list[str]:
    """Return the doubts of the meters whose figures are limited."""
    names = [name for limit, (name, _) in METERS.items() if getattr(plan.budget, limit) is not None]
    return [readings[name].doubts[plan.candidate.key] for name in names if plan.candidate.key in readings[name].doubts]


def _profile(plan: Plan, series: Series | None) -> Profile:
    """Return the records of a series, or bare ones where there was nothing to time."""
    here = plan.here.connection.probe()
    if series is not None:
        return machine.profiled(here["machine"], "device", series.records, series.machine, here)
    told = {"before": here["state"], "doubts": [], "engine_doubts": {}}
    return machine.profiled(
        here["machine"], "device", [engine.record(plan.here.point) for engine in plan.here.engines], told, here
    )
