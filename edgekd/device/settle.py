"""The warm-up: an engine is run until there is no trend left, not for a fixed count."""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Callable, Dict, List

WINDOW_RUNS = 10
WINDOW_NS = 5_000_000
TOLERANCE = 0.02
"""A change of the median from window to window that counts as no trend."""


def settle(run: Callable[[], int], least_s: float, most_s: float) -> Dict[str, Any]:
    """Run until the median of three consecutive windows shows no trend, or `most_s` is over (`settled` false).

    Processor time is looked at, not the clock: other engines warm up at the same time. `run` returns the nanoseconds on
    the clock; `run_ms` is their median in the last window.
    """
    begin = time.perf_counter()
    medians: List[float] = []
    while True:
        used: List[int] = []
        taken: List[int] = []
        while len(used) < WINDOW_RUNS or sum(used) < WINDOW_NS:
            start = time.process_time_ns()
            taken.append(run())
            used.append(max(time.process_time_ns() - start, 1))
        medians.append(median(used))
        spent = time.perf_counter() - begin
        last = medians[-3:]
        steady = len(last) == 3 and max(last) - min(last) <= TOLERANCE * last[-1]
        if (steady and spent >= least_s) or spent >= most_s:
            return {"settled": steady, "windows": len(medians), "seconds": spent, "run_ms": median(taken) / 1e6}
