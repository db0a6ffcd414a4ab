"""One round of a series: a fresh process per engine, started and loaded together, then timed in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.budget import OperatingPoint
from edgekd.connection.child import Child
from edgekd.connection.connection import Connection
from edgekd.measure.engine import Engine
from edgekd.measure.statistics import samples_needed

BLOCK_RUNS = 8
SKIPPED_RUNS = 3
LEAST_RUNS = 64
"""Of a process, whatever percentile is asked for: a percentile of few runs is uncertain, which shifts the median over
processes where those are of two kinds (docs/gate-study.md)."""
ATTEMPTS = 3
"""How often a block is measured when it was disturbed: its process had to wait, or the machine changed meanwhile."""
WAITED = "waited for a processor"
MOST_WAITING = 0.05
WARM_LEAST_S, WARM_MOST_S = 0.1, 30.0


def turns(count: int, blocks: int, first: int) -> Iterator[int]:
    """Yield whose turn it is: forwards, backwards, forwards (ABBA), `blocks` times each, beginning with engine `first`.

    Every engine comes equally early and late in each pair of sweeps, so a linear drift cancels out of every ratio.
    """
    order = [(first + position) % count for position in range(count)]
    for sweep in range(blocks):
        yield from order if sweep % 2 == 0 else reversed(order)


def blocks_needed(percentile: float) -> int:
    """Return how many blocks give the runs a percentile needs; even, so that every ABBA is complete."""
    runs = max(samples_needed(percentile), LEAST_RUNS)
    return 2 * -(-runs // (2 * BLOCK_RUNS))


@dataclass(frozen=True)
class Round:
    """What every round of a series has in common.

    `hang_s` is how long one request may take before it is a hang. `refuse_late` is told the seconds before the first
    block and those of one block of every engine as soon as they are known; it raises when there is no time for that.
    """

    connection: Connection
    engines: Sequence[Engine]
    inputs: Path
    point: OperatingPoint
    hang_s: float
    refuse_late: Callable[[float, float], None] | None = None

    def run(self, number: int, blocks: int) -> list[dict[str, Any]]:
        """Return what each engine's process found, with its key as `engine`.

        `load_ms`, `first_result_ms`, whether its outputs were `finite` and whether it `settled` in the warm-up, and its
        `blocks` of raw times, each with the `discarded` ones before it and why (`disturbed_by`).
        """
        begin = time.monotonic()
        with ExitStack() as stack:
            children = [stack.enter_context(self.connection.start(engine.key)) for engine in self.engines]
            self._each(children, lambda _, child: child.greet())
            opened = self._each(children, self._open)
            warmed = self._each(children, self._warm)
            if self.refuse_late is not None:
                once_s = sum(warm["run_ms"] for warm in warmed) / 1000
                self.refuse_late(time.monotonic() - begin, (SKIPPED_RUNS + BLOCK_RUNS) * once_s)
            timed: list[list[dict[str, Any]]] = [[] for _ in children]
            for turn in turns(len(children), blocks, number % len(children)):
                timed[turn].append(self._block(children[turn]))
        found = zip(self.engines, opened, warmed, timed, strict=True)
        return [
            {
                "engine": engine.key,
                **{key: start[key] for key in ("load_ms", "first_result_ms", "finite")},
                "settled": warm["settled"],
                "blocks": times,
            }
            for engine, start, warm, times in found
        ]

    def _each(self, children: Sequence[Child], ask: Callable[[Engine, Child], Any]) -> list[Any]:
        """Let the children do something at the same time, as many as there are cores for."""
        most = max(1, self.connection.cores() // self.point.threads)
        return self.connection.at_once(lambda pair: ask(*pair), zip(self.engines, children, strict=True), most)

    def _open(self, engine: Engine, child: Child) -> dict[str, Any]:
        called = engine.called(self.point, self.inputs, self.connection)
        return child.ask({"verb": "time", "step": "open", **called}, self.hang_s)

    def _warm(self, _: Engine, child: Child) -> dict[str, Any]:
        request = {"verb": "time", "step": "warm", "least_s": WARM_LEAST_S, "most_s": WARM_MOST_S}
        return child.ask(request, self.hang_s + WARM_MOST_S)

    def _block(self, child: Child) -> dict[str, Any]:
        """Time one block, again when it was disturbed; the last attempt stands."""
        request = {"verb": "time", "step": "block", "skip": SKIPPED_RUNS, "runs": BLOCK_RUNS}
        discarded: list[dict[str, Any]] = []
        while True:
            block = child.ask(request, self.hang_s)
            block.pop("ok")
            waited = (block["waited_ms"] or 0.0) > MOST_WAITING * sum(block["ms"])
            block["disturbed_by"] = [*([WAITED] if waited else []), *block.pop("changed")]
            if not block["disturbed_by"] or len(discarded) == ATTEMPTS - 1:
                return {**block, "disturbed": bool(block["disturbed_by"]), "discarded": discarded}
            discarded.append(block)
