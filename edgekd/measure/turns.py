"""One round of a series: a fresh process per engine, started and loaded together, then timed in turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.budget import OperatingPoint
from edgekd.measure.connection import Child, Connection
from edgekd.measure.engine import Engine
from edgekd.measure.statistics import samples_needed

BLOCK_RUNS = 8
SKIPPED_RUNS = 3
ATTEMPTS = 3
"""How often a block is measured when its process had to wait for a processor meanwhile."""
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
    runs = max(samples_needed(percentile), samples_needed(50))
    return 2 * -(-runs // (2 * BLOCK_RUNS))


@dataclass(frozen=True)
class Round:
    """What every round of a series has in common; `hang_s` is how long one request may take before it is a hang."""

    connection: Connection
    engines: Sequence[Engine]
    inputs: Path
    point: OperatingPoint
    hang_s: float

    def run(self, number: int, blocks: int) -> list[dict[str, Any]]:
        """Return per engine its key, `load_ms`, whether it `settled` in the warm-up, and its `blocks` of raw times."""
        with ExitStack() as stack:
            children = [stack.enter_context(self.connection.start(engine.key)) for engine in self.engines]
            self._each(children, lambda _, child: child.greet())
            opened = self._each(children, self._open)
            warmed = self._each(children, self._warm)
            timed: list[list[dict[str, Any]]] = [[] for _ in children]
            for turn in turns(len(children), blocks, number % len(children)):
                timed[turn].append(self._block(children[turn]))
        return [
            {"engine": engine.key, "load_ms": opened[i]["load_ms"], "settled": warmed[i]["settled"], "blocks": timed[i]}
            for i, engine in enumerate(self.engines)
        ]

    def _each(self, children: Sequence[Child], ask: Callable[[Engine, Child], Any]) -> list[Any]:
        """Let the children do something at the same time, as many as there are cores for."""
        most = max(1, usable_cores() // self.point.threads)
        return self.connection.at_once(lambda pair: ask(*pair), zip(self.engines, children, strict=True), most)

    def _open(self, engine: Engine, child: Child) -> dict[str, Any]:
        request = {"verb": "time", "step": "open", "runtime": engine.runtime, "engine": str(engine.path.resolve())}
        at = {"inputs": str(self.inputs.resolve()), "threads": self.point.threads, "batch": self.point.batch}
        return child.ask({**request, **at}, self.hang_s)

    def _warm(self, _: Engine, child: Child) -> dict[str, Any]:
        request = {"verb": "time", "step": "warm", "least_s": WARM_LEAST_S, "most_s": WARM_MOST_S}
        return child.ask(request, self.hang_s + WARM_MOST_S)

    def _block(self, child: Child) -> dict[str, Any]:
        """Time one block, again when the process had to wait for a processor; the last attempt stands."""
        request = {"verb": "time", "step": "block", "skip": SKIPPED_RUNS, "runs": BLOCK_RUNS}
        discarded: list[dict[str, Any]] = []
        while True:
            block = child.ask(request, self.hang_s)
            block.pop("ok")
            waited = (block["waited_ms"] or 0.0) > MOST_WAITING * sum(block["ms"])
            if not waited or len(discarded) == ATTEMPTS - 1:
                return {**block, "disturbed": waited, "discarded": discarded}
            discarded.append(block)


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
