"""Samples per second in closed loop at the operating point: the next query starts when the last one has ended."""

from __future__ import annotations

import time
from typing import Any, Dict

from .settle import settle
from .stream import Stream

WINDOW_S = 0.5
WARM_MOST_S = 30.0


def throughput(request: Dict[str, Any]) -> Dict[str, Any]:
    """Warm an engine up, then run it for `window_s`.

    Returns `samples_per_s`, the `runs` and the `seconds` they took, and whether the warm-up `settled`.
    """
    stream = Stream(request)
    warm = settle(stream.run, request.get("least_s", 0.1), request.get("most_s", WARM_MOST_S))
    window, runs = request.get("window_s", WINDOW_S), 0
    start = time.perf_counter()
    seconds = 0.0
    while seconds < window:
        stream.run()
        runs += 1
        seconds = time.perf_counter() - start
    samples = runs * request["batch"]
    return {"samples_per_s": samples / seconds, "runs": runs, "seconds": seconds, "settled": warm["settled"]}
