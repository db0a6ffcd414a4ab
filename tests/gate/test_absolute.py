"""Absolute limits: only on a registered host, and only as far as its anchor agrees."""

from __future__ import annotations

import pytest

from edgekd.budget import Budget
from edgekd.figure import Figure
from edgekd.gate.absolute import objector
from edgekd.gate.verdict import judge
from edgekd.measure.host import Standing
from edgekd.measure.series import figure
from edgekd.measure.statistics import Bounds
from edgekd.profile import EngineRecord
from edgekd.report import Verdict
from tests.gate.profiles import profile, record

AS_REGISTERED = Standing(Bounds(0.5, 0.499, 0.501, 0.99))
BUDGET = Budget(latency_ms=1.0)


def anchor(ms: float) -> EngineRecord:
    values = [ms] * 11
    found = record("anchor-1/fp32/onnxruntime", ms, spread=0.0)
    return found.replace(
        per_process={**found.per_process, "latency_ms_p50": values},
        figures=(figure("latency_ms_p50", values, (), "device"),),
    )


def judged(
    ms: float, anchor_ms: float, standing: Standing = AS_REGISTERED, budget: Budget = BUDGET, *figures: Figure
) -> Verdict:
    engine, anchored = record("a/b/onnxruntime", ms), anchor(anchor_ms)
    return judge(
        engine, profile(engine, anchored), budget, figures, objectors=[objector(standing, engine, anchored, 90)]
    )


@pytest.mark.parametrize(
    ("ms", "anchor_ms", "status"),
    [
        (0.9, 0.5, "met"),
        (1.1, 0.5, "missed"),
        (0.9, 0.55, "met"),  # met although the machine is slower now
        (1.1, 0.55, "not trustworthy"),  # it would be 1.0 on the machine as registered
        (1.2, 0.55, "not trustworthy"),  # too slow even there, but nobody knows what else is not as it was
        (1.2, 0.507, "missed"),  # slower by less than says anything
        (1.1, 0.45, "missed"),  # missed although the machine is faster now
        (0.95, 0.45, "not trustworthy"),  # it would be 1.06 on the machine as registered
        (0.8, 0.45, "not trustworthy"),
        (0.8, 0.493, "met"),
    ],
)
def test_a_verdict_stands_when_the_registered_machine_gives_the_same(ms: float, anchor_ms: float, status: str) -> None:
    verdict = judged(ms, anchor_ms)
    assert verdict.status == status
    if status == "not trustworthy":
        assert "times as long as when this host was registered" in verdict.checks[0].sentence


def test_nothing_absolute_is_judged_on_a_host_that_is_not_registered() -> None:
    budget = Budget(latency_ms=1.0, first_result_ms=50, energy_mj=5, size_mb=2)
    first = Figure(name="first_result_ms", value=30, origin="device", lower=29, upper=31)
    energy = Figure(name="energy_mj", value=1, origin="device", lower=0.9, upper=1.1)
    for standing, status in ((Standing(doubt="unknown host"), "not trustworthy"), (AS_REGISTERED, "met")):
        verdict = judged(0.9, 0.5, standing, budget, first, energy)
        states = {check.limit_name: check.status for check in verdict.checks}
        assert states == {"latency_ms": status, "first_result_ms": status, "energy_mj": status, "size_mb": "met"}


def test_more_processes_may_settle_a_disagreement_only_where_the_limit_is_between() -> None:
    budget = Budget(latency_ms=1.0)
    (open_check,) = judged(1.1, 0.55, AS_REGISTERED, budget).checks
    assert open_check.contested
    (opposite,) = judged(1.1, 0.7, AS_REGISTERED, budget).checks
    assert opposite.status == "not trustworthy"
    assert not opposite.contested


def test_a_cold_start_is_related_by_the_anchors_speed() -> None:
    budget = Budget(first_result_ms=32)
    first = Figure(name="first_result_ms", value=30, origin="device", lower=29, upper=31)
    assert judged(1, 0.5, AS_REGISTERED, budget, first).status == "met"
    assert judged(1, 0.45, AS_REGISTERED, budget, first).status == "not trustworthy"
