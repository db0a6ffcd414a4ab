"""Latency: engines measured against each other in rounds of fresh processes that take turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgekd.measure import meter, series
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading, Setup
from edgekd.profile import latency_name
from edgekd.schema import Field, Schema


class Latency(meter.Meter):
    """`latency_ms_p50` and `latency_ms_p<percentile>`, end to end, with bounds over processes; see `series.measure`."""

    class Config(Schema):
        """How many processes."""

        processes: int = Field(
            default=11,
            ge=1,
            le=1000,
            description="fresh processes per engine; 11 bound a median at 99 % with one outlier",
        )

    name: ClassVar[str] = "latency"
    produces: ClassVar[tuple[str, ...]] = ("latency_ms_p50", "latency_ms_p*")

    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Measure all engines interleaved; called again with the same raw folder it replays and extends."""
        found = series.measure(
            engines,
            setup.inputs,
            setup.point,
            setup.percentile,
            processes=self.config.processes,
            raw=setup.raw / f"{self.name}.jsonl",
            progress=setup.progress,
            title=self.name,
            origin=setup.origin,
            connection=setup.connection,
            hang_s=setup.hang_s,
        )
        names = dict.fromkeys([latency_name(50), latency_name(setup.percentile)])
        figures = {
            record.key: tuple(figure for name in names if (figure := record.figure(name))) for record in found.records
        }
        everywhere = list(found.machine["doubts"])
        of_one = found.machine["engine_doubts"]
        reasons = {
            record.key: [*everywhere, *([of_one[record.key]] if record.key in of_one else [])]
            for record in found.records
        }
        doubts = {key: "; ".join(said) for key, said in reasons.items() if said}
        return Reading(figures, tuple(found.machine["remarks"]), doubts)
