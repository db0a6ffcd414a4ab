"""Latency of one engine, measured in turns with others: `open` it, `warm` it up, then time `block`s when told to."""

from __future__ import annotations

import gc
import os
import time
from statistics import median
from typing import Any, Dict, List, Optional

import numpy as np

from ..runtime.session import Session, import_runtime, open_session
from .inputs import rotation

WINDOW_RUNS = 10
WINDOW_NS = 5_000_000
TOLERANCE = 0.02
"""A change of the median from window to window that counts as no trend."""


class Timer:
    """The verb `time` of one process: its steps are requests, so that the parent decides whose turn it is."""

    def __init__(self) -> None:
        self._session: Optional[Session] = None
        self._inputs: List[np.ndarray] = []
        self._next = 0

    def step(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Do the step a request names: open, warm or block."""
        steps = {"open": self._open, "warm": self._warm, "block": self._block}
        if request.get("step") not in steps:
            raise ValueError("unknown step {!r}; known: {}".format(request.get("step"), ", ".join(steps)))
        return steps[request["step"]](request)

    def _open(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Load the engine; `load_ms` runs from the file to the first result, without importing the runtime."""
        self._inputs = rotation(request["inputs"], request["batch"])
        import_runtime(request["runtime"])
        start = time.perf_counter_ns()
        self._session = open_session(request["runtime"], request["engine"], request["threads"], request["batch"])
        self._session.run([self._inputs[0]])
        return {"load_ms": (time.perf_counter_ns() - start) / 1e6}

    def _warm(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Run until the median of three consecutive windows shows no trend, or `most_s` is over (`settled` false).

        Processor time is looked at, not the clock: other engines warm up at the same time.
        """
        begin = time.perf_counter()
        medians: List[float] = []
        while True:
            medians.append(self._window())
            spent = time.perf_counter() - begin
            last = medians[-3:]
            steady = len(last) == 3 and max(last) - min(last) <= TOLERANCE * last[-1]
            if (steady and spent >= request["least_s"]) or spent >= request["most_s"]:
                return {"settled": steady, "windows": len(medians), "seconds": spent}

    def _window(self) -> float:
        used: List[int] = []
        while len(used) < WINDOW_RUNS or sum(used) < WINDOW_NS:
            start = time.process_time_ns()
            self._run()
            used.append(max(time.process_time_ns() - start, 1))
        return median(used)

    def _block(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Run `skip` times unrecorded, so that this process has the caches again, then time `runs` runs."""
        waited = waited_ns()
        at = time.time()
        for _ in range(request["skip"]):
            self._run()
        gc.disable()
        taken = [self._run() for _ in range(request["runs"])]
        gc.enable()
        after = waited_ns()
        waited_ms = None if waited is None or after is None else (after - waited) / 1e6
        return {"ms": [ns / 1e6 for ns in taken], "waited_ms": waited_ms, "at": at}

    def _run(self) -> int:
        """Infer once on the next input and return the nanoseconds it took, copies in and out included."""
        if self._session is None:
            raise ValueError("no engine is open; the step 'open' comes first")
        arrays = [self._inputs[self._next]]
        self._next = (self._next + 1) % len(self._inputs)
        start = time.perf_counter_ns()
        self._session.run(arrays)
        return time.perf_counter_ns() - start


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
