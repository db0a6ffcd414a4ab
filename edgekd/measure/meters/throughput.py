"""Throughput: samples per second of one closed loop at the operating point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgekd.measure import meter
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading, Setup
from edgekd.measure.repetition import bounded, repeat
from edgekd.schema import Field, Schema


class Throughput(meter.Meter):
    """`samples_per_s` over a window that begins after the warm-up; the median over fresh processes that ran alone."""

    class Config(Schema):
        """How many processes and how long each."""

        processes: int = Field(default=7, ge=1, le=1000, description="fresh processes per engine; 7 give bounds")
        window_s: float = Field(default=0.5, gt=0, le=600, description="seconds each process counts")

    name: ClassVar[str] = "throughput"
    produces: ClassVar[tuple[str, ...]] = ("samples_per_s",)

    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Run every engine in fresh processes, one at a time."""
        window = {"verb": "throughput", "window_s": self.config.window_s}
        requests = {engine.key: {**window, **setup.called(engine)} for engine in engines}
        found = repeat(self, requests, setup, processes=self.config.processes)
        figures = {
            key: (bounded("samples_per_s", [answer["samples_per_s"] for answer in answers], setup),)
            for key, answers in found.items()
        }
        restless = {key: sum(not answer["settled"] for answer in answers) for key, answers in found.items()}
        doubts = {
            key: f"{count} of {len(found[key])} processes had not settled after the warm-up"
            for key, count in restless.items()
            if count
        }
        return Reading(figures, doubts=doubts)
