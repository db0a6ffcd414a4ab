"""MLPerf LoadGen, single stream: a latency by rules that others know. Needs the package mlcommons-loadgen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgekd.measure import meter
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading, Setup
from edgekd.measure.repetition import bounded, repeat
from edgekd.schema import Field, Schema


class Loadgen(meter.Meter):
    """`loadgen_latency_ms_p90`: LoadGen's 90th percentile; the median over fresh processes that ran alone.

    An official result needs at least 1,024 queries and 600 s (Reddi et al. 2020); the defaults are shorter, and what
    LoadGen itself calls invalid is a doubt here.
    """

    class Config(Schema):
        """How many processes and how long each."""

        processes: int = Field(default=3, ge=1, le=1000, description="fresh processes per engine; 7 give bounds")
        least_queries: int = Field(
            default=1024, ge=64, le=10_000_000, description="queries each process answers at least"
        )
        least_s: float = Field(default=1.0, gt=0, le=36_000, description="seconds each process runs at least")

    name: ClassVar[str] = "loadgen"
    produces: ClassVar[tuple[str, ...]] = ("loadgen_latency_ms_p90", "loadgen_early_stopping_ms")

    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Run LoadGen on every engine in fresh processes, one at a time; raises TargetError when it is missing."""
        settings = {
            "verb": "loadgen",
            "least_queries": self.config.least_queries,
            "least_ms": round(1000 * self.config.least_s),
        }
        requests = {engine.key: {**settings, **setup.called(engine)} for engine in engines}
        found = repeat(self, requests, setup, processes=self.config.processes)
        figures, doubts = {}, {}
        for key, answers in found.items():
            named = {
                "loadgen_latency_ms_p90": [answer["p90_ms"] for answer in answers],
                "loadgen_early_stopping_ms": [
                    ms for answer in answers if (ms := answer["early_stopping_ms"]) is not None
                ],
            }
            figures[key] = tuple(bounded(name, values, setup) for name, values in named.items() if values)
            reasons = dict.fromkeys(str(answer["invalid_reason"]) for answer in answers if not answer["valid"])
            if reasons:
                doubts[key] = f"LoadGen calls the result invalid: {'; '.join(reasons)}"
        return Reading(figures, doubts=doubts)
