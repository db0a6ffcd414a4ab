"""Profiles made up of the numbers a test wants to have judged."""

from __future__ import annotations

from typing import Any

from edgekd.budget import OperatingPoint
from edgekd.figure import Figure
from edgekd.measure.series import figure
from edgekd.profile import EngineRecord, Profile


def record(
    key: str,
    ms: float,
    *,
    drop: float = 0.0,
    memory_mb: float = 10.0,
    size_mb: float = 1.0,
    spread: float = 0.01,
    processes: int = 11,
) -> EngineRecord:
    """Return a record of `key` (network/scheme/runtime) whose processes lie `spread` (relative) around `ms`."""
    network, scheme, runtime = key.split("/")
    values = [ms * (1 + spread * (2 * k / max(processes - 1, 1) - 1)) for k in range(processes)]
    figures = [
        figure("latency_ms_p90", values, (), "device"),
        Figure(name="peak_memory_mb", value=memory_mb, origin="device", lower=memory_mb - 1, upper=memory_mb + 1),
        Figure(name="size_mb", value=size_mb, origin="counted"),
        Figure(name="accuracy_drop", value=drop, origin="device", lower=drop - 1, upper=drop + 1, confidence=0.95),
    ]
    return EngineRecord(
        network=network,
        scheme=scheme,
        runtime=runtime,
        digest="d",
        operating_point=OperatingPoint(),
        per_process={"latency_ms_p90": tuple(values), "look": (1.0,) * processes},
        figures=tuple(figures),
    )


def profile(*records: EngineRecord, origin: str = "device", **machine: Any) -> Profile:
    """Return a profile of those records."""
    return Profile.model_validate(
        {"target": "x86-vnni", "origin": origin, "machine": machine, "records": [r.model_dump() for r in records]}
    )


TEACHER = record("teacher/fp32/openvino", 6.0, spread=0.0)
"""The fastest float engine of the teacher; without spread, so that a ratio spreads as its numerator does."""
