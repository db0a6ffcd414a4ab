"""Latency of one engine, measured in turns with others: `open` it, `warm` it up, then time `block`s when told to.

All times are end to end, from the arrays given to the arrays returned; a runtime that computes on another device can
tell its share as well (`device_ms`), the two here compute on the processor that holds the clock.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any, Dict, Optional

from .conditions import Conditions, changes
from .settle import settle
from .stream import Stream

CALLS = ("bound", "plain")


class Timer:
    """The verb `time` of one process: its steps are requests, so that the parent decides whose turn it is."""

    def __init__(self, root: str = "/") -> None:
        self._stream: Optional[Stream] = None
        self._conditions = Conditions(root)

    def step(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Do the step a request names: open, warm or block."""
        steps = {"open": self._open, "warm": self._warm, "block": self._block}
        if request.get("step") not in steps:
            raise ValueError("unknown step {!r}; known: {}".format(request.get("step"), ", ".join(steps)))
        return steps[request["step"]](request)

    def _open(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Load the engine and run it on a few inputs; returns `load_ms`, `first_result_ms` and `finite` of a stream."""
        stream = self._stream = Stream(request)
        return {"load_ms": stream.load_ms, "first_result_ms": stream.first_result_ms, "finite": stream.finite}

    def _warm(self, request: Dict[str, Any]) -> Dict[str, Any]:
        return settle(self._opened().run, request["least_s"], request["most_s"])

    def _block(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Run `skip` times unrecorded, so that this process has the caches again, then time `runs` runs.

        `call` is "bound" (buffers bound once: the fastest documented way, and that of `edgekd.runtime`) or "plain" (the
        call most apps write). `changed` says which conditions were others after the block than before.
        """
        call = request.get("call", "bound")
        if call not in CALLS:
            raise ValueError("unknown call {!r}; known: {}".format(call, ", ".join(CALLS)))
        stream = self._opened()
        run = stream.run if call == "bound" else stream.run_plain
        before, waited = self._conditions.now(), waited_ns()
        at = time.time()
        for _ in range(request["skip"]):
            run()
        gc.disable()
        taken = [run() for _ in range(request["runs"])]
        gc.enable()
        after = waited_ns()
        changed = changes(before, self._conditions.now())
        waited_ms = None if waited is None or after is None else (after - waited) / 1e6
        return {"ms": [ns / 1e6 for ns in taken], "waited_ms": waited_ms, "at": at, "changed": changed}

    def _opened(self) -> Stream:
        if self._stream is None:
            raise ValueError("no engine is open; the step 'open' comes first")
        return self._stream


def waited_ns() -> Optional[int]:
    """Return how long this process's threads were ready to run but had no processor, None where nobody counts it."""
    total = 0
    try:
        for task in os.listdir("/proc/self/task"):
            with open("/proc/self/task/{}/schedstat".format(task), encoding="ascii") as stream:
                total += int(stream.read().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return total
