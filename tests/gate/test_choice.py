from __future__ import annotations

import pytest

from edgekd.budget import Budget
from edgekd.errors import EdgekdError
from edgekd.figure import Figure
from edgekd.gate.choice import choose
from tests.gate.profiles import TEACHER, profile, record

_BUDGET = Budget(latency_ratio=0.5, accuracy_drop=1.0)


def _chosen(*records, budget: Budget = _BUDGET) -> tuple[str, str]:
    best, why = choose(profile(TEACHER, *records), budget)
    return best.key, why


def test_the_fastest_that_keeps_the_accuracy_is_chosen() -> None:
    key, why = _chosen(
        record("pruned/fp32/openvino", 2.0),
        record("pruned/u8w8/onnxruntime", 0.9, drop=1.2),
        record("pruned/u8w8/openvino", 1.2, drop=0.9),
    )
    assert key == "pruned/u8w8/openvino"
    assert "fastest" in why


def test_the_teacher_is_never_shipped_beside_a_student() -> None:
    assert _chosen(record("pruned/fp32/openvino", 9.0))[0] == "pruned/fp32/openvino"


def test_without_a_student_the_quantized_teacher_is_shipped() -> None:
    assert _chosen(record("teacher/u8w8/openvino", 3.0))[0] == "teacher/u8w8/openvino"
    assert _chosen()[0] == TEACHER.key


def test_integers_that_lose_to_float_are_not_shipped() -> None:
    assert _chosen(record("teacher/u8w8/openvino", 1.3 * TEACHER.figures[0].value))[0] == TEACHER.key
    engines = record("pruned/fp32/openvino", 1.0), record("pruned/u8w7/openvino", 1.3)
    assert _chosen(*engines)[0] == "pruned/fp32/openvino"


@pytest.mark.parametrize(("ms", "key"), [(1.005, "b/int8/ort"), (1.04, "a/int8/ov"), (1.2, "a/int8/ov")])
def test_a_tie_within_noise_goes_to_the_smaller_memory(ms: float, key: str) -> None:
    fast = record("a/int8/ov", 1.0, memory_mb=50)
    rival = record("b/int8/ort", ms, memory_mb=20)
    noisy = tuple(v * (1 + 0.02 * (-1) ** k) for k, v in enumerate(rival.per_process["latency_ms_p90"]))
    rival = rival.replace(per_process={**rival.per_process, "latency_ms_p90": noisy})
    if ms == 1.04:  # a real difference of 4 %, the same in every process
        rival = record("b/int8/ort", ms, memory_mb=20)
    chosen, why = _chosen(fast, rival)
    assert chosen == key
    assert ("less memory" in why) == (key == "b/int8/ort")


def test_an_engine_over_the_memory_or_size_limit_gives_way_to_one_that_fits() -> None:
    engines = [record("a/int8/ov", 1.0, memory_mb=50, size_mb=9), record("b/int8/ort", 3.0)]
    assert _chosen(*engines, budget=_BUDGET.replace(peak_memory_mb=20))[0] == "b/int8/ort"
    assert _chosen(*engines, budget=_BUDGET.replace(size_mb=5))[0] == "b/int8/ort"
    assert _chosen(*engines, budget=_BUDGET.replace(size_mb=0.1))[0] == "a/int8/ov"


def test_when_none_keeps_the_accuracy_the_one_that_loses_least_is_told() -> None:
    key, why = _chosen(record("a/int8/ov", 1.0, drop=5), record("b/int8/ort", 2.0, drop=4))
    assert key == "b/int8/ort"
    assert "loses least" in why


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(EdgekdError, match="latency_ms_p99"):
        choose(profile(TEACHER), Budget(latency_ms=1, percentile=99))


def test_cold_start_and_calibration_are_limits_too() -> None:
    def with_figures(engine, **values: float):
        extra = tuple(Figure(name=name, value=value, origin="device") for name, value in values.items())
        return engine.replace(figures=(*engine.figures, *extra))

    fast = with_figures(record("a/int8/ov", 1.0), first_result_ms=90, ece=0.02, accuracy_percent=97)
    slow = with_figures(record("b/int8/ort", 2.0), first_result_ms=10, ece=0.02, accuracy_percent=97)
    assert _chosen(fast, slow, budget=Budget())[0] == fast.key
    assert _chosen(fast, slow, budget=Budget(first_result_ms=50))[0] == slow.key
    vain = with_figures(record("c/int8/ov", 0.5), first_result_ms=10, ece=0.3, accuracy_percent=92)
    assert _chosen(vain, slow, budget=Budget(ece=0.1))[0] == slow.key
    assert _chosen(vain, slow, budget=Budget(accuracy_percent=95))[0] == slow.key
    assert _chosen(vain, slow, budget=Budget(accuracy_percent=90))[0] == vain.key
