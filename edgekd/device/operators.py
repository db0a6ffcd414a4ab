"""Many small engines, one after the other in one process: the latency of each, and that of its operators.

What a profile of kernels is made of. The engine runs on random values, three times: as it is deployed, while its
runtime counts, and as it is deployed again, so that a drift in between is seen.
"""

from __future__ import annotations

import tempfile
import time
from statistics import median
from typing import Any, Callable, Dict, List

import numpy as np

from ..runtime.session import Session, open_session
from .layers import counted, rows

_LEARNING_RUNS = 3
_LEARNING_S = 0.02
"""At least: the calls before are up to four per cent slower."""
_LEAST_RUNS = 5
_MOST_RUNS = 300


def operators(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return what `engine` costs: `ms` before and after, medians; `rows` as `layers` gives them; and `call_ms`.

    `ms` is without, `call_ms` with the counting; `scatter` is the interquartile range of the calls over their median.
    Each of the three series takes about `series_s` seconds.
    """
    runtime, engine, threads = request["runtime"], request["engine"], request["threads"]
    deployed = open_session(runtime, engine, threads, 1)
    run = _runner(deployed)
    slow = _learning(run)
    runs = int(min(max(request["series_s"] / max(slow, 1e-6), _LEAST_RUNS), _MOST_RUNS))
    first = [run() / 1e6 for _ in range(runs)]
    with tempfile.TemporaryDirectory(prefix="edgekd-operators-") as folder:
        counting = open_session(runtime, engine, threads, 1, folder)
        count = _runner(counting)
        for _ in range(_LEARNING_RUNS):
            count()
        times, calls = counted(counting, count, _LEARNING_RUNS, runs)
    second = [run() / 1e6 for _ in range(runs)]
    ordered = sorted(first + second)
    return {
        "ms": [median(first), median(second)],
        "scatter": (ordered[3 * len(ordered) // 4] - ordered[len(ordered) // 4]) / median(ordered),
        "rows": rows(times),
        "call_ms": median(calls),
        "runs": 2 * runs,
    }


def _learning(run: Callable[[], int]) -> float:
    """Run until the latency has settled and return that of the last call, in seconds."""
    begin, done = time.perf_counter(), 0
    while done < _LEARNING_RUNS or time.perf_counter() - begin < _LEARNING_S:
        last = run()
        done += 1
    return last / 1e9


def _runner(session: Session) -> Callable[[], int]:
    """Return what runs a session once on the same random values and returns the nanoseconds, copies included."""
    random = np.random.RandomState(0)
    arrays: List[np.ndarray] = []
    for port in session.inputs:
        shape = [size or 1 for size in port.shape]
        values = random.rand(*shape) if np.dtype(port.dtype).kind == "f" else random.randint(0, 2, shape)
        arrays.append(values.astype(port.dtype))

    def run() -> int:
        start = time.perf_counter_ns()
        session.run(arrays)
        return time.perf_counter_ns() - start

    return run
