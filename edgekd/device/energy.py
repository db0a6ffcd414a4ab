"""Energy of an inference: the machine's counters over a window of runs, with and without its idle power."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Tuple

from .counters import Counter, counters
from .settle import settle
from .stream import Stream

WINDOW_S = 2.0
IDLE_S = 1.0


def energy(request: Dict[str, Any]) -> Dict[str, Any]:
    """Run an engine for `window_s` after having been idle for `idle_s`, and read every energy counter around both.

    Returns `sources` (the counters that could be read), `missing` (by name, why another cannot be), and where there is
    a source: `runs`, `seconds`, `gross_mj` and `net_mj` per call (idle power subtracted), `idle_w`. Joules are the sum
    over the sources, those of the whole machine: nothing else should run. `root` is where /sys begins.
    """
    found, missing = counters(request["runtime"], request.get("root", "/"))
    if not found:
        return {"sources": [], "missing": missing}
    try:
        stream = Stream(request)
        settle(stream.run, request.get("least_s", 0.1), request.get("most_s", 30.0))
        idle_j, idle_s = _idle(found, request.get("idle_s", IDLE_S))
        before, begin = _read(found), time.perf_counter()
        runs, end, window = 0, begin, request.get("window_s", WINDOW_S)
        while end - begin < window:
            stream.run()
            runs += 1
            end = time.perf_counter()
        spent_j, seconds = _read(found) - before, end - begin
    finally:
        for counter in found:
            counter.close()
    net_j = spent_j - idle_j / idle_s * seconds
    return {
        "sources": [counter.name for counter in found],
        "missing": missing,
        "runs": runs,
        "seconds": seconds,
        "gross_mj": 1e3 * spent_j / runs,
        "net_mj": 1e3 * net_j / runs,
        "idle_w": idle_j / idle_s,
    }


def _idle(found: List[Counter], seconds: float) -> Tuple[float, float]:
    before, begin = _read(found), time.perf_counter()
    time.sleep(seconds)
    after, end = _read(found), time.perf_counter()
    return after - before, end - begin


def _read(found: List[Counter]) -> float:
    return sum(counter.joules() for counter in found)
