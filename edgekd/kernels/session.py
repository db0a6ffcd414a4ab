"""A session that measures probes in rounds: every network in every scheme on every runtime, the anchor in between."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from edgekd.errors import ExportError, MeasurementError
from edgekd.fuse.fusion import FUSIONS
from edgekd.kernel import Probe, TimedKernel
from edgekd.kernels.bench import Bench
from edgekd.kernels.drawn import Drawn, drawn
from edgekd.profile import Layer
from edgekd.stage import Advance

ANCHOR_EVERY = 8
"""Networks between two measurements of the anchor."""
_CANDIDATES = 6
"""Networks drawn for one that is measured, once there is something to choose by."""
_MOST_REFUSED = 0.1
"""Share of networks that may be refused before the session is given up."""

Unsure = Callable[[Drawn], float]
"""How little is known of a network, as a relative deviation."""


class Session:
    """What was measured so far; the milliseconds of `probes` are as measured until `paced` restores them."""

    def __init__(self, bench: Bench, schemes: Sequence[str], runtimes: Sequence[str], folder: Path) -> None:
        self._bench, self._schemes, self._runtimes, self._folder = bench, schemes, runtimes, folder
        self._numbers = itertools.count(1)
        self._measured: list[Probe] = []
        self._count = 0
        self.discarded = 0
        """Engines that were disturbed in all attempts."""
        self.refused: list[str] = []
        """What a runtime refused, a sentence each."""

    def round(self, seconds: float, unsure: Unsure | None, advance: Advance) -> None:
        """Measure for so many seconds; with `unsure` every other network is the least known of some candidates.

        Raises MeasurementError when a runtime refuses more than a few engines, or its process dies.
        """
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(1) as ahead:
            for network in self._ahead(ahead, unsure):
                begin = time.monotonic()
                self._measure(network)
                now = time.monotonic()
                advance(round(now) - round(begin), f"{self._count} networks")
                if now > end:
                    break

    def again(self, number: int) -> None:
        """Measure the network of a number."""
        self._measure(drawn(number, self._schemes, self._runtimes))

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

    def _measure(self, network: Drawn) -> None:
        if self._count % ANCHOR_EVERY == 0:
            for runtime in self._runtimes:
                self._bench.pace(runtime)
        self._count += 1
        try:
            with network.built(self._folder) as engines:
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
        matched = FUSIONS.get(runtime)().matched(kernels, rows)
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

    def _ahead(self, pool: ThreadPoolExecutor, unsure: Unsure | None) -> Iterator[Drawn]:
        """Yield networks; the next one is drawn while the last one is measured."""
        coming = pool.submit(self._next, None)
        for turn in itertools.count():
            network = coming.result()
            coming = pool.submit(self._next, unsure if turn % 2 else None)
            yield network

    def _next(self, unsure: Unsure | None) -> Drawn:
        candidates = [
            drawn(next(self._numbers), self._schemes, self._runtimes) for _ in range(_CANDIDATES if unsure else 1)
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
