"""Energy of one call, from the machine's own counters; no figure where the machine has none that may be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edgekd.figure import Figure
from edgekd.measure import meter
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading, Setup
from edgekd.measure.repetition import Answer, bounded, repeat
from edgekd.schema import Field, Schema


class Energy(meter.Meter):
    """`energy_mj` of one call with the idle power subtracted, `energy_gross_mj` with it; medians over fresh processes.

    Counted by RAPL, a Jetson's INA3221 or, for engines on a graphics processor, NVML: the whole machine's energy.
    """

    class Config(Schema):
        """How many processes and how long each."""

        processes: int = Field(default=7, ge=1, le=1000, description="fresh processes per engine; 7 give bounds")
        window_s: float = Field(default=2.0, gt=0, le=600, description="seconds of running each process counts")
        idle_s: float = Field(
            default=1.0, gt=0, le=600, description="seconds of idling before, whose power is subtracted"
        )

    name: ClassVar[str] = "energy"
    produces: ClassVar[tuple[str, ...]] = ("energy_mj", "energy_gross_mj")

    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Run every engine in fresh processes, one at a time; one process of each tells whether there is a counter."""
        window = {"verb": "energy", "window_s": self.config.window_s, "idle_s": self.config.idle_s}
        requests = {engine.key: {**window, **setup.called(engine)} for engine in engines}
        found = repeat(self, requests, setup, processes=1)
        if any(answers[0]["sources"] for answers in found.values()):
            found = repeat(self, requests, setup, processes=self.config.processes)
        figures = {key: self._figures(answers, setup) for key, answers in found.items()}
        return Reading(figures, tuple(dict.fromkeys(_remark(answers[0]) for answers in found.values())))

    @staticmethod
    def _figures(answers: Sequence[Answer], setup: Setup) -> tuple[Figure, ...]:
        if not answers[0]["sources"]:
            return ()
        names = {"energy_mj": "net_mj", "energy_gross_mj": "gross_mj"}
        return tuple(bounded(name, [answer[key] for answer in answers], setup) for name, key in names.items())


def _remark(answer: Answer) -> str:
    if answer["sources"]:
        return f"energy is that of the whole machine, counted by {' and '.join(answer['sources'])}"
    return "energy was not measured: " + "; ".join(f"{name} {why}" for name, why in sorted(answer["missing"].items()))
