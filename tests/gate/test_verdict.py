from __future__ import annotations

import pytest

from edgekd.budget import Budget
from edgekd.errors import MeasurementError
from edgekd.figure import Figure
from edgekd.gate.verdict import Objection, judge
from tests.gate.profiles import TEACHER, profile, record

_SLOWER_TEACHER = record("teacher/fp32/onnxruntime", 9.0)
_MET, _MISSED, _UNSURE = 0.9, 1.1, 1.0
"""Latencies in ms that are surely within, surely above and within the noise of 1 ms, a sixth of the teacher's."""


def _judge(engine, budget: Budget, origin: str = "device", figures: tuple[Figure, ...] = (), **machine):
    return judge(engine, profile(TEACHER, _SLOWER_TEACHER, engine, origin=origin, **machine), budget, figures)


@pytest.mark.parametrize("limit", [{"latency_ms": 1.0}, {"latency_ratio": 1 / 6}])
@pytest.mark.parametrize(
    ("ms", "status", "code"), [(_MET, "met", 0), (_MISSED, "missed", 3), (_UNSURE, "not trustworthy", 5)]
)
def test_gate_on_the_upper_bound_fail_on_the_lower(limit: dict, ms: float, status: str, code: int) -> None:
    verdict = _judge(record("pruned/u8w8/openvino", ms), Budget(**limit))
    assert (verdict.status, verdict.exit_code) == (status, code)
    assert verdict.engine == "pruned/u8w8/openvino"
    (check,) = verdict.checks
    assert check.limit_name in limit
    assert ("more processes" in check.sentence) == (code == 5)


def test_the_ratio_is_held_against_the_fastest_float_engine_of_the_teacher() -> None:
    (check,) = _judge(record("pruned/u8w8/openvino", 1.5), Budget(latency_ratio=0.2)).checks
    assert check.figure.value == pytest.approx(0.25)
    assert check.status == "missed"  # against the slower teacher engine it would be a sixth
    assert "teacher/fp32/openvino" in check.sentence


@pytest.mark.parametrize(
    ("ms", "drop", "code"),
    [
        (_MET, 0.5, 0),
        (_MISSED, 0.5, 3),
        (_MET, 2.0, 4),
        (_MISSED, 2.0, 4),
        (_UNSURE, 0.5, 5),
        (_UNSURE, 2.0, 5),
    ],
)
def test_exit_codes_follow_the_precedence_and_every_limit_is_listed(ms: float, drop: float, code: int) -> None:
    verdict = _judge(
        record("pruned/u8w8/openvino", ms, drop=drop), Budget(latency_ms=1.0, accuracy_drop=1.0, size_mb=5)
    )
    assert verdict.exit_code == code
    assert [check.limit_name for check in verdict.checks] == ["latency_ms", "accuracy_drop", "size_mb"]
    assert verdict.checks[1].status == ("met" if drop < 1 else "missed")


def test_accuracy_is_judged_by_the_point_estimate_and_says_so() -> None:
    (check,) = _judge(record("a/b/c", 1.0, drop=0.9), Budget(accuracy_drop=1.0)).checks
    assert check.status == "met"  # although its upper bound is 1.9
    assert "point estimate" in check.sentence
    assert "+1.90" in check.sentence


@pytest.mark.parametrize(("mb", "status"), [(9.0, "met"), (11.5, "missed"), (10.0, "not trustworthy")])
def test_memory_is_judged_by_its_extremes(mb: float, status: str) -> None:
    (check,) = _judge(record("a/b/c", 1.0, memory_mb=mb), Budget(peak_memory_mb=10)).checks
    assert check.status == status


def test_what_was_measured_elsewhere_is_never_met() -> None:
    verdict = _judge(record("a/b/c", _MET), Budget(latency_ms=1.0, accuracy_drop=1.0, size_mb=5), origin="host")
    assert verdict.exit_code == 5
    assert "measured on this host, not on x86-vnni" in verdict.reasons
    assert [check.status for check in verdict.checks] == ["not trustworthy", "not trustworthy", "met"]
    assert _judge(record("a/b/c", _MET), Budget(size_mb=5), origin="host").status == "not trustworthy"


def test_doubts_about_the_machine_or_an_engine_compared_stop_a_latency_verdict() -> None:
    engine, latency = record("a/b/c", _MET), Budget(latency_ratio=1 / 6)
    said = "the processor was throttled"
    assert _judge(engine, latency, doubts=[said]).reasons == (said,)
    assert _judge(engine, latency, doubts=[said]).exit_code == 5
    for key in ("a/b/c", "teacher/fp32/openvino"):
        assert _judge(engine, latency, engine_doubts={key: "restless"}).reasons == (f"{key}: restless",)
    assert _judge(engine, latency, engine_doubts={"teacher/fp32/onnxruntime": "restless"}).exit_code == 0
    assert _judge(engine, Budget(accuracy_drop=1), doubts=[said]).exit_code == 0


def test_too_few_processes_are_no_verdict() -> None:
    verdict = _judge(record("a/b/c", _MET, processes=3), Budget(latency_ms=1.0))
    assert verdict.exit_code == 5
    assert "3 processes give no bound" in verdict.checks[0].sentence


def test_figures_of_the_test_split_stand_in_for_those_of_validation() -> None:
    worse = Figure(name="accuracy_drop", value=3, origin="device", samples=1500)
    verdict = _judge(record("a/b/c", 1.0), Budget(accuracy_drop=1.0), figures=(worse,))
    assert verdict.exit_code == 4
    assert "1500 inputs" in verdict.checks[0].sentence


def test_a_limit_without_a_measurement_is_an_error() -> None:
    engine = record("a/b/c", 1.0)
    with pytest.raises(MeasurementError, match="peak_memory_mb"):
        _judge(engine.replace(figures=()), Budget(peak_memory_mb=1))
    with pytest.raises(MeasurementError, match="no fp32 engine"):
        judge(engine, profile(engine), Budget(latency_ratio=0.5))


def test_a_budget_without_limits_says_that_nothing_was_checked() -> None:
    verdict = _judge(record("a/b/c", 1.0), Budget())
    assert verdict.exit_code == 0
    assert "nothing was checked" in verdict.line()


def _with(**values: float) -> tuple[Figure, ...]:
    bounds = {"first_result_ms": 0.01, "energy_mj": 0.01}
    return tuple(
        Figure(name=name, value=value, origin="device", samples=100, lower=value * 0.99, upper=value * 1.01)
        if name in bounds
        else Figure(name=name, value=value, origin="device", samples=100, lower=value * 0.9, upper=value * 1.1)
        for name, value in values.items()
    )


@pytest.mark.parametrize(
    ("limit", "good", "bad", "code"),
    [
        ({"first_result_ms": 50.0}, 45.0, 60.0, 3),
        ({"energy_mj": 2.0}, 1.5, 2.5, 3),
        ({"accuracy_percent": 95.0}, 95.0, 94.9, 4),
        ({"ece": 0.05}, 0.05, 0.051, 4),
    ],
)
def test_every_limit_is_held_against_the_figure_of_its_name(limit: dict, good: float, bad: float, code: int) -> None:
    engine = record("a/b/c", 1.0)
    (name,) = limit
    assert _judge(engine, Budget(**limit), figures=_with(**{name: good})).exit_code == 0
    verdict = _judge(engine, Budget(**limit), figures=_with(**{name: bad}))
    assert verdict.exit_code == code
    assert verdict.checks[0].limit_name == name
    with pytest.raises(MeasurementError, match=name):
        _judge(engine, Budget(**limit))


def test_accuracy_and_calibration_come_before_cost() -> None:
    budget = Budget(latency_ms=1.0, ece=0.05, first_result_ms=10)
    figures = _with(ece=0.2, first_result_ms=20)
    assert _judge(record("a/b/c", _MISSED), budget, figures=figures).exit_code == 4
    assert _judge(record("a/b/c", _UNSURE), budget, figures=figures).exit_code == 5


def test_the_ratio_is_held_against_the_reference_that_is_given() -> None:
    engine, baseline = record("a/b/c", 1.0), record("main/b/c", 1.0, spread=0.0)
    found = judge(engine, profile(TEACHER, engine, baseline), Budget(latency_ratio=1.05), reference=baseline)
    assert found.status == "met"
    assert "of main/b/c" in found.checks[0].sentence
    doubted = profile(TEACHER, engine, baseline, engine_doubts={"main/b/c": "restless"})
    assert judge(engine, doubted, Budget(latency_ratio=1.05), reference=baseline).exit_code == 5


def test_an_objection_takes_the_verdict_back_and_a_doubt_all_of_them() -> None:
    engine = record("a/b/c", _MET)
    measured, budget = profile(TEACHER, engine), Budget(latency_ms=1.0, size_mb=5)

    def objector(held):
        return Objection("the moon is full") if held.limit_name == "latency_ms" else None

    verdict = judge(engine, measured, budget, objectors=[objector])
    assert [check.status for check in verdict.checks] == ["not trustworthy", "met"]
    assert "but the moon is full" in verdict.line()
    assert verdict.exit_code == 5
    doubted = judge(engine, measured, budget, doubts=["nobody looked"])
    assert doubted.exit_code == 5
    assert doubted.reasons == ("nobody looked",)


def test_a_limit_within_the_guard_band_is_open() -> None:
    (check,) = _judge(record("a/b/c", 1.0, spread=0.0), Budget(latency_ms=1.003)).checks
    assert check.status == "not trustworthy"
    assert check.contested
    assert "within 0.5%" in check.sentence
