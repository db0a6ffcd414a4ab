"""A session that measures probes in rounds: every network in every scheme on every runtime, the anchor in between."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from threadpoolctl import threadpool_limits

from edgekd.errors import ExportError, MeasurementError
from edgekd.fuse.fusion import Fusion
from edgekd.kernel import Probe, TimedKernel
from edgekd.kernels.bench import Bench
from edgekd.kernels.drawn import Drawn, drawn
from edgekd.profile import Layer
from edgekd.stage import Advance

ANCHOR_EVERY = 8
"""Networks between two measurements of the anchor."""
CANDIDATES = 2
"""Networks drawn for one that is measured, once there is something to choose by."""
_MOST_REFUSED = 0.1
"""Share of networks that may be refused before the session is given up."""

Unsure = Callable[[Drawn], float]
"""How little is known of a network, as a relative deviation."""


class Session:
    """What was measured so far; the milliseconds of `probes` are as measured until `paced` restores them."""

    def __init__(self, bench: Bench, schemes: Sequence[str], rules: Mapping[str, Fusion], folder: Path) -> None:
        self._bench, self._schemes, self._rules, self._folder = bench, schemes, rules, folder
        self._numbers = itertools.count(1)
        self._measured: list[Probe] = []
        self._count = self._built = 0
        self.discarded = 0
        """Engines of which no two series agreed."""
        self.refused: list[str] = []
        """What a runtime refused, a sentence each."""

    def round(self, seconds: float, unsure: Unsure | None, advance: Advance) -> None:
        """Measure for so many seconds; with `unsure` every other network is the least known of some candidates.

        The next network is drawn while the engines of one are built, and nothing else is done while they run: a
        processor that draws takes caches and memory from the one that runs.

        Raises MeasurementError when a runtime refuses more than a few engines, or its process dies.
        """
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(1) as ahead, threadpool_limits(1):
            coming = ahead.submit(self._next, None)
            for turn in itertools.count():
                begin = time.monotonic()
                network = coming.result()
                coming = ahead.submit(self._next, unsure if turn % 2 else None)
                self._measure(network, coming.exception)
                now = time.monotonic()
                advance(round(now) - round(begin), f"{self._count} networks")
                if now > end:
                    break

    def again(self, number: int) -> None:
        """Measure the network of a number."""
        self._measure(drawn(number, self._schemes, self._rules))

    def raw(self) -> list[Probe]:
        """Return all probes as measured, their `pace` being the latency of the anchor then, ms."""
        return list(self._measured)

    def probes(self) -> list[Probe]:
        """Return all probes at the speed of the anchor's median."""
        usual = self.anchor_ms()
        return [paced(probe, usual[probe.runtime]) for probe in self._measured]

    def anchor_ms(self) -> dict[str, float]:
        """Return the median latency of the anchor by runtime."""
        return {runtime: median(values) for runtime, values in self._bench.anchors.items()}

    def _measure(self, network: Drawn, idle: Callable[[], object] = lambda: None) -> None:
        """Build the engines of a network, wait until all else is done, `idle`, and run them."""
        self._count += 1
        try:
            with network.built(self._folder) as engines:
                idle()
                if self._built % ANCHOR_EVERY == 0:
                    for runtime in self._rules:
                        self._bench.pace(runtime)
                self._built += 1
                for (scheme, runtime), engine in engines.items():
                    self._time(network, scheme, runtime, engine)
        except (ExportError, MeasurementError) as error:
            self.refused.append(f"{network.name}: {error}")
            if len(self.refused) > 3 + _MOST_REFUSED * self._count:
                raise

    def _time(self, network: Drawn, scheme: str, runtime: str, engine: Path) -> None:
        timing = self._bench.time(runtime, engine)
        if timing.disturbed:
            self.discarded += 1
            return
        kernels = network.kernels[scheme, runtime]
        rows = [Layer(**row) for row in timing.rows]
        matched = self._rules[runtime].matched(kernels, rows)
        probe = Probe(
            name=network.name,
            scheme=scheme,
            runtime=runtime,
            ms=timing.ms,
            runs=timing.runs,
            scatter=timing.scatter,
            pace=self._bench.pace_now(runtime),
            rows=len(rows),
            rows_ms=sum(row.ms for row in rows),
            kernels=tuple(TimedKernel(one.anonymous(), ms) for one, ms in zip(kernels, matched, strict=True)),
        )
        self._measured.append(probe)

    def _next(self, unsure: Unsure | None) -> Drawn:
        candidates = [
            drawn(next(self._numbers), self._schemes, self._rules) for _ in range(CANDIDATES if unsure else 1)
        ]
        return max(candidates, key=unsure) if unsure else candidates[0]


def paced(probe: Probe, usual_ms: float) -> Probe:
    """Return a probe as it would have been at the usual speed; its `pace`, the anchor's ms then, becomes a ratio."""
    pace = probe.pace / usual_ms
    kernels = tuple(TimedKernel(kernel, None if ms is None else _short(ms / pace)) for kernel, ms in probe.kernels)
    changes = {"ms": _short(probe.ms / pace), "rows_ms": _short(probe.rows_ms / pace), "pace": _short(pace)}
    return probe.model_copy(update={**changes, "scatter": _short(probe.scatter), "kernels": kernels})


def _short(number: float) -> float:
    """Return a number as exact as anything here is measured, so that it is short in a file."""
    return float(f"{number:.5g}")
