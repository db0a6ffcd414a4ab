from __future__ import annotations

import pytest

from edgekd.budget import Budget
from edgekd.errors import EdgekdError
from edgekd.predict.limit import limit_ms
from edgekd.profile import EngineRecord, Profile

LATENCY = {
    ("teacher", "fp32", "onnxruntime"): 4.0,
    ("teacher", "fp32", "openvino"): 3.0,
    ("teacher", "s8", "openvino"): 1.0,
}


def profile(*, teacher: bool = True) -> Profile:
    records = [
        EngineRecord.model_validate(
            {
                "network": network if teacher else "probe",
                "scheme": scheme,
                "runtime": runtime,
                "digest": "0",
                "operating_point": {},
                "per_process": {"latency_ms_p90": (ms, ms, ms * 9)},
            }
        )
        for (network, scheme, runtime), ms in LATENCY.items()
    ]
    return Profile(target="x86-vnni", origin="device", records=tuple(records))


@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        (Budget(), None),
        (Budget(latency_ms=2), 2),
        (Budget(latency_ratio=0.5), 1.5),
        (Budget(latency_ms=2, latency_ratio=0.5), 1.5),
        (Budget(latency_ms=1, latency_ratio=0.5), 1),
    ],
)
def test_the_stricter_limit_against_the_fastest_fp32_teacher(budget: Budget, limit: float | None) -> None:
    assert limit_ms(budget, profile()) == limit


def test_a_ratio_needs_a_measured_teacher() -> None:
    with pytest.raises(EdgekdError, match="no latency_ms_p90 of the teacher in fp32"):
        limit_ms(Budget(latency_ratio=0.5), profile(teacher=False))
    assert limit_ms(Budget(latency_ms=2), profile(teacher=False)) == 2
