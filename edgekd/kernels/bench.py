"""Runs probes: every runtime in a process of its own that lives for many of them, the anchor in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Self

from edgekd.connection.child import Child
from edgekd.connection.connection import Connection
from edgekd.errors import MeasurementError
from edgekd.measure import anchor

SERIES_S = 0.015
"""Of one of the three series in which an engine runs."""
PACE_S = 0.1
"""The same of the anchor: its first hundredths of a second are some per cent slower than the others."""
_PROCESS_LIVES = 100
"""Engines a process runs before a fresh one takes its place: memory laid out by chance is averaged over."""
_AGREE = 0.05
"""Relative difference of the two fastest series, above which an engine was disturbed: others only slow it down."""
_ATTEMPTS = 3
_HANG_S = 120.0
_NEAR = 9
"""Measurements of the anchor whose median is the machine's pace at a moment."""


@dataclass(frozen=True)
class Timing:
    """What one engine cost."""

    ms: float
    """The mean of the medians of the two fastest series."""
    runs: int
    scatter: float
    disturbed: bool
    """Whether no two series agree."""
    rows: tuple[dict[str, Any], ...]


class Bench:
    """The processes. Used as a context manager, they are gone at the end, whatever happened."""

    def __init__(self, connection: Connection, threads: int = 1) -> None:
        self._connection, self._threads = connection, threads
        self._stack = ExitStack()
        self._children: dict[str, Child] = {}
        self._lives: dict[str, int] = defaultdict(int)
        self.anchors: dict[str, list[float]] = defaultdict(list)
        """Every latency of the anchor, ms, by runtime."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def time(self, runtime: str, engine: Path, series_s: float = SERIES_S) -> Timing:
        """Run an engine; it is run again where it was disturbed. Raises MeasurementError or TargetError."""
        there = self._connection.sent(engine)
        series: list[float] = []
        for _ in range(_ATTEMPTS):
            answer = self._ask(runtime, there, series_s)
            series += answer["ms"]
            fastest, second = sorted(series)[:2]
            if disturbed := second / fastest - 1 > _AGREE:
                continue
            break
        if engine != anchor.FILE:
            self._connection.dropped(engine)
        return Timing((fastest + second) / 2, answer["runs"], answer["scatter"], disturbed, tuple(answer["rows"]))

    def pace(self, runtime: str) -> None:
        """Run the anchor once more."""
        self.anchors[runtime].append(self.time(runtime, anchor.FILE, PACE_S).ms)

    def pace_now(self, runtime: str) -> float:
        """Return the latency of the anchor, ms, at this moment: the median of its last few measurements."""
        return median(self.anchors[runtime][-_NEAR:])

    def _ask(self, runtime: str, engine: str, series_s: float) -> dict[str, Any]:
        if self._lives[runtime] % _PROCESS_LIVES == 0:
            if runtime in self._children:
                self._children[runtime].close()
            self._children[runtime] = self._stack.enter_context(self._connection.start(f"the probes on {runtime}"))
        self._lives[runtime] += 1
        request = {"verb": "operators", "runtime": runtime, "engine": engine, "threads": self._threads}
        try:
            return self._children[runtime].ask({**request, "series_s": series_s}, _HANG_S)
        except MeasurementError:
            self._lives[runtime] = 0  # it may be dead; the next engine gets a fresh one
            raise


def drift(values: Sequence[float]) -> float:
    """Return the largest change of the anchor between neighbouring fifths of a session, relative."""
    size = max(1, len(values) // 5)
    fifths = [median(values[start : start + size]) for start in range(0, len(values), size)]
    return max((abs(later / earlier - 1) for earlier, later in pairwise(fifths)), default=0.0)
