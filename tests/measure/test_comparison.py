from __future__ import annotations

import pytest

from edgekd.budget import OperatingPoint
from edgekd.errors import MeasurementError
from edgekd.measure.comparison import fastest_teacher, paired_ratio
from edgekd.measure.series import figure
from edgekd.profile import EngineRecord


def _record(network: str, scheme: str, runtime: str, values: list[float]) -> EngineRecord:
    name = "latency_ms_p90"
    return EngineRecord(
        network=network,
        scheme=scheme,
        runtime=runtime,
        digest="d",
        operating_point=OperatingPoint(),
        per_process={name: tuple(values), "look": (1.0,) * len(values)},
        figures=(figure(name, values, (), "device"),),
    )


def test_the_baseline_is_the_teachers_fastest_float_engine() -> None:
    slow, fast = _record("teacher", "fp32", "a", [2.0] * 11), _record("teacher", "fp32", "b", [1.0] * 11)
    others = [_record("teacher", "u8w8", "a", [0.5] * 11), _record("pruned", "fp32", "a", [0.1] * 11)]
    assert fastest_teacher([slow, *others, fast], 90) is fast
    assert fastest_teacher(others, 90) is None
    assert fastest_teacher([slow], 99) is None


def test_the_ratio_is_taken_round_by_round() -> None:
    teacher = [1.0 + 0.1 * k for k in range(11)]
    found = paired_ratio(
        _record("s", "fp32", "a", [t / 4 for t in teacher]), _record("t", "fp32", "a", teacher), 90, "r"
    )
    assert (found.name, found.value, found.samples) == ("r", pytest.approx(0.25), 11)
    assert found.lower == pytest.approx(0.25)
    assert found.upper == pytest.approx(0.25)


def test_series_of_different_length_are_no_pair() -> None:
    with pytest.raises(MeasurementError, match="not measured together"):
        paired_ratio(_record("s", "fp32", "a", [1.0] * 11), _record("t", "fp32", "a", [1.0] * 22), 90, "r")
