"""Peak memory: a fresh process that loads and runs the engine, minus an empty one with the same runtime."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import ClassVar

from edgekd.errors import TargetError
from edgekd.figure import Figure
from edgekd.measure import meter
from edgekd.measure.engine import Engine
from edgekd.measure.meter import Reading, Setup
from edgekd.measure.repetition import Answer, extremes, repeat
from edgekd.schema import Field, Schema

LEAK_KB_PER_RUN = 4.0
"""A growth above this looks like a leak: one page a run, far above what settling allocators show over 256 runs."""
_EMPTY = "empty/"


class Memory(meter.Meter):
    """`peak_memory_mb`, and as far as the kernel tells them `load_memory_mb` and `steady_memory_mb` (after loading).

    Values are medians over fresh processes minus the median of `empty/<runtime>`; the bounds are their extremes, from 7
    processes on distribution-free. One process in ten or so keeps some MB less than the others, so three are too few.
    """

    class Config(Schema):
        """How many processes, and how many runs of each."""

        processes: int = Field(default=7, ge=1, le=1000, description="fresh processes per engine")
        runs: int = Field(default=256, ge=2, le=1_000_000, description="runs of each process; a slow engine does fewer")

    name: ClassVar[str] = "memory"
    produces: ClassVar[tuple[str, ...]] = ("peak_memory_mb", "load_memory_mb", "steady_memory_mb")

    def measure(self, engines: Sequence[Engine], setup: Setup) -> Reading:
        """Load and run every engine; raises TargetError where the system does not tell a process's peak."""
        verb = {"verb": "memory"}
        empty = {_EMPTY + e.runtime: {**verb, "runtime": e.runtime, "engine": None} for e in engines}
        full = {e.key: {**verb, "runs": self.config.runs, **setup.called(e)} for e in engines}
        found = repeat(self, {**empty, **full}, setup, processes=self.config.processes, alone=False)
        figures, doubts = {}, {}
        for engine in engines:
            base = median(_values(found[_EMPTY + engine.runtime], "peak_mb"))
            figures[engine.key] = _figures(found[engine.key], base, setup)
            growth = median([answer["growth_kb_per_run"] or 0.0 for answer in found[engine.key]])
            if growth > LEAK_KB_PER_RUN:
                doubts[engine.key] = f"memory grows by {growth:.3g} MB per 1000 runs: a leak?"
        return Reading(figures, tuple(f"{key}: {said}" for key, said in doubts.items()), doubts)


def _figures(answers: Sequence[Answer], empty_mb: float, setup: Setup) -> tuple[Figure, ...]:
    names = {"peak_memory_mb": "peak_mb", "load_memory_mb": "load_peak_mb", "steady_memory_mb": "steady_peak_mb"}
    found = {name: [mb - empty_mb for a in answers if (mb := a[key]) is not None] for name, key in names.items()}
    return tuple(extremes(name, values, setup) for name, values in found.items() if values)


def _values(answers: Sequence[Answer], key: str) -> list[float]:
    values = [value for answer in answers if (value := answer[key]) is not None]
    if not values:
        raise TargetError("this system does not tell the memory of a process (no /proc/self/status)")
    return values
