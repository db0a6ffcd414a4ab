"""A series that nobody measured: what a gate is told when engines take the times a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgekd.budget import OperatingPoint
from edgekd.gate import looks
from edgekd.measure.engine import Engine
from edgekd.measure.meters.memory import Memory
from edgekd.measure.series import Series, figure
from edgekd.profile import EngineRecord

STATISTICS = ("latency_ms_p50", "load_ms", "first_result_ms")


class OneProcess(Memory.Config):
    processes: int = 1


class Measured:
    """Stands in for `edgekd.measure.series.measure`; `ms` says what an engine takes, by its network."""

    def __init__(self, ms: dict[str, Callable[[int], float]], **told: Any) -> None:
        self.ms = ms
        self.told = {"seconds": 5.0, **told}
        self.machine: dict[str, Any] = {"doubts": [], "engine_doubts": {}, "remarks": [], "before": {}, "after": {}}
        self.looks: list[int] = []
        self.raws: list[Path] = []

    def instead(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of the clock; memory is still measured, in one process."""
        patch.setattr(looks, "measure", self)
        patch.setattr(Memory, "Config", OneProcess)

    def __call__(
        self, engines: Sequence[Engine], inputs: Path, point: OperatingPoint, percentile: float, **options: Any
    ) -> Series:
        if options["raw"] not in self.raws:
            self.raws.append(options["raw"])
            self.looks.append(0)
            self.series: list[int] = []
        elif options["processes"] <= self.series[-1]:
            self.series = []  # another gate
        self.series.append(options["processes"])
        self.looks[-1] = options["processes"]
        options["raw"].parent.mkdir(parents=True, exist_ok=True)
        options["raw"].touch()
        records = [self._record(engine, point, percentile) for engine in engines]
        return Series(records, self.machine, **{**self.told, "seconds": 0.5 * options["processes"]})

    def _record(self, engine: Engine, point: OperatingPoint, percentile: float) -> EngineRecord:
        processes = self.series[-1]
        values = tuple(self.ms[engine.network](number) for number in range(processes))
        names = (*STATISTICS, f"latency_ms_p{percentile:g}")
        looked = tuple(float(sum(number < look for look in self.series)) for number in range(processes))
        figures = tuple(figure(name, values, self.series, "device") for name in dict.fromkeys(names))
        return engine.record(point, {**dict.fromkeys(names, values), "look": looked}, figures)


def around(ms: float, spread: float = 0.02) -> Callable[[int], float]:
    """Return a time of process k that lies within `spread` (relative) of `ms`, evenly, in no order."""
    return lambda number: ms * (1 + spread * (2 * ((number * 7) % 11) / 10 - 1))
