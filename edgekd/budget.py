"""A budget: limits with their unit in the name, and the operating point at which they hold."""

from __future__ import annotations

from edgekd.schema import Field, Schema


class OperatingPoint(Schema):
    """How an engine is called when its cost is measured: single stream, one query at a time."""

    batch: int = Field(default=1, ge=1, le=4096)
    threads: int = Field(default=1, ge=1, le=1024)


class Budget(Schema):
    """What the shipped engine may cost. Limits that are not given are not checked."""

    latency_ms: float | None = Field(default=None, gt=0, le=1e6, description="upper limit of the latency percentile")
    latency_ratio: float | None = Field(
        default=None, gt=0, le=1, description="same, as a share of the teacher's best fp32 engine measured interleaved"
    )
    percentile: float = Field(default=90, ge=50, lt=100)
    peak_memory_mb: float | None = Field(
        default=None, gt=0, le=1e7, description="peak of the process minus an empty one with the same runtime"
    )
    size_mb: float | None = Field(default=None, gt=0, le=1e7, description="of the engine's files")
    accuracy_drop: float | None = Field(
        default=None, ge=0, le=100, description="points, against the teacher on the same inputs"
    )
    operating_point: OperatingPoint = OperatingPoint()
