"""Memory of this process, which must be a fresh one: VmHWM, because ru_maxrss keeps a big parent's peak."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Optional

from ..runtime.session import import_runtime, open_session
from .inputs import refuse_misfit, rotation

RUNS = 256
LEAST_RUNS = 32
MOST_S = 10.0
"""A slow engine stops after this time, but not before `LEAST_RUNS`."""


def status_mb(key: str, path: str = "/proc/self/status") -> Optional[float]:
    """Return a size from /proc/self/status (VmHWM: peak, VmRSS: now) in MB (10**6 bytes), None elsewhere."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return None


def memory(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return the memory of a process that loads an engine and runs it, sizes in MB (10**6 bytes).

    `load_peak_mb` is the peak until the first result, `steady_peak_mb` that of the runs after it (None where the kernel
    lets no process reset its own peak), `peak_mb` the larger one. `growth_kb_per_run` is the smaller growth of the two
    halves of the steady runs: a leak grows in both, what settles late only in the first. Without `engine` it is the
    empty process that is subtracted: numpy and the runtime imported, nothing loaded.
    """
    import_runtime(request["runtime"])
    if request.get("engine") is None:
        return {"peak_mb": status_mb("VmHWM")}
    inputs = rotation(request["inputs"], request["batch"], limit=1)[0]
    session = open_session(request["runtime"], request["engine"], request["threads"], request["batch"])
    refuse_misfit(inputs, session.inputs)
    session.run(inputs)
    load = status_mb("VmHWM")
    reset = _reset_peak()
    half = max(request.get("runs", RUNS) // 2, 1)
    least, most_s = min(half, LEAST_RUNS // 2), request.get("most_s", MOST_S) / 2
    sizes = [_resident_mb()]
    done = []
    for _ in range(2):
        done.append(_repeat(lambda: session.run(inputs), half, least, most_s))
        sizes.append(_resident_mb())
    steady = status_mb("VmHWM")
    peak = None if load is None or steady is None else max(load, steady)
    return {
        "peak_mb": peak,
        "load_peak_mb": load,
        "steady_peak_mb": steady if reset else None,
        "growth_kb_per_run": _growth(sizes, done),
        "runs": sum(done),
    }


def _repeat(run: Callable[[], Any], most: int, least: int, most_s: float) -> int:
    begin = time.monotonic()
    for number in range(1, most + 1):
        run()
        if number >= least and time.monotonic() - begin > most_s:
            return number
    return most


def _growth(sizes: List[Optional[float]], done: List[int]) -> Optional[float]:
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        return None
    return min(1000 * (after - before) / runs for before, after, runs in zip(known, known[1:], done))


def _resident_mb() -> Optional[float]:
    """Return what is resident now; smaps_rollup counts every page, VmRSS is a sum of per-processor estimates."""
    exact = status_mb("Rss", "/proc/self/smaps_rollup")
    return status_mb("VmRSS") if exact is None else exact


def _reset_peak() -> bool:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
            stream.write("5")
    except OSError:
        return False
    return True
