"""A figure: one number with its unit, where it came from, how many samples it rests on and how sure it is."""

from __future__ import annotations

from typing import Literal

from edgekd.schema import Field, Schema

Origin = Literal["device", "host", "predicted", "counted"]
"""Measured on the target, measured on another machine, computed by a predictor, or counted from a graph."""


class Figure(Schema):
    """One number as it may be printed. Its name holds its unit: `latency_ms_p90`, `peak_memory_mb`."""

    name: str
    value: float
    origin: Origin
    samples: int = Field(default=1, ge=1, description="processes for a latency, inputs for an accuracy")
    lower: float | None = Field(default=None, description="lower confidence bound")
    upper: float | None = Field(default=None, description="upper confidence bound")
    confidence: float | None = Field(default=None, gt=0, lt=1, description="of each bound, one-sided")

    def text(self, digits: int = 3) -> str:
        """Return the value with its bounds, and the word `predicted` or `host` where that is its origin."""
        value = f"{self.value:.{digits}g}"
        if self.lower is not None and self.upper is not None:
            value += f" [{self.lower:.{digits}g}, {self.upper:.{digits}g}]"
        if self.origin in {"predicted", "host"}:
            value += f" ({self.origin})"
        return value
