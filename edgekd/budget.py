"""A budget: limits with their unit in the name, and the operating point at which they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekd.schema import Field, Schema, from_mapping, read_yaml


class OperatingPoint(Schema):
    """How an engine is called when its cost is measured: single stream, one query at a time."""

    batch: int = Field(default=1, ge=1, le=4096)
    threads: int = Field(default=1, ge=1, le=1024)


class Budget(Schema):
    """What the shipped engine may cost. Limits that are not given are not checked."""

    latency_ms: float | None = Field(default=None, gt=0, le=1e6, description="upper limit of the latency percentile")
    latency_ratio: float | None = Field(
        default=None,
        gt=0,
        le=10,
        description="same, divided by that of a baseline, interleaved: in a run, the teacher's best fp32 engine",
    )
    percentile: float = Field(default=90, ge=50, lt=100)
    peak_memory_mb: float | None = Field(
        default=None, gt=0, le=1e7, description="peak of the process minus an empty one with the same runtime"
    )
    size_mb: float | None = Field(default=None, gt=0, le=1e7, description="of the engine's files")
    first_result_ms: float | None = Field(
        default=None, gt=0, le=1e7, description="cold start: from the engine's file to its first result"
    )
    energy_mj: float | None = Field(default=None, gt=0, le=1e9, description="of one inference, in millijoules")
    accuracy_drop: float | None = Field(
        default=None, ge=0, le=100, description="points, against the baseline on the same inputs: in a run the teacher"
    )
    accuracy_percent: float | None = Field(
        default=None, ge=0, le=100, description="the least accuracy, where there is no baseline to compare with"
    )
    ece: float | None = Field(
        default=None, ge=0, le=1, description="expected calibration error: how far confidence is from accuracy"
    )
    operating_point: OperatingPoint = OperatingPoint()


def read(path: Path | None, overrides: dict[str, Any] | None = None) -> Budget:
    """Return the budget of a YAML file, with `overrides` (by key; from options) in place of what stands there.

    Raises UsageError for every fault: the key, its line, what was given, what is possible.
    """
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    options = from_mapping(Budget, given, "the options")
    if path is None:
        return options
    data, lines = read_yaml(path)
    return from_mapping(Budget, {**data, **given}, str(path), lines)
