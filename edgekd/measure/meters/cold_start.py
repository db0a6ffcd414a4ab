"""Cold start: from the engine's file to a ready session, and to the first result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgekd.measure import meter
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading, Setup
from edgekd.measure.repetition import bounded, repeat
from edgekd.schema import Field, Schema


class ColdStart(meter.Meter):
    """`load_ms` and `first_result_ms`, medians over fresh processes that ran alone.

    Neither counts the import of the runtime; the engine's file is in the system's cache, as after a first start.
    """

    class Config(Schema):
        """How many processes."""

        processes: int = Field(default=11, ge=1, le=1000, description="fresh processes per engine; 7 give bounds")

    name: ClassVar[str] = "cold-start"
    produces: ClassVar[tuple[str, ...]] = ("load_ms", "first_result_ms")

    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Open every engine in fresh processes, one at a time."""
        opening = {"verb": "time", "step": "open"}
        requests = {engine.key: {**opening, **setup.called(engine)} for engine in engines}
        found = repeat(self, requests, setup, processes=self.config.processes)
        return Reading(
            {
                key: tuple(bounded(name, [answer[name] for answer in answers], setup) for name in self.produces)
                for key, answers in found.items()
            }
        )
