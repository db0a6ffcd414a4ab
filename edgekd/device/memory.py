"""Peak memory of this process, which must be a fresh one: VmHWM, because ru_maxrss keeps a big parent's peak."""

from __future__ import annotations

from typing import Any, Dict, Optional

from ..runtime.session import import_runtime, open_session
from .inputs import rotation


def status_mb(key: str) -> Optional[float]:
    """Return a size from /proc/self/status (VmHWM: peak, VmRSS: now) in MB (10**6 bytes), None elsewhere."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith(key + ":"):
                    return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return None


def memory(request: Dict[str, Any]) -> Dict[str, Any]:
    """Return `peak_mb`, `load_peak_mb` and `steady_peak_mb` of a process that loads an engine and runs it.

    Without `engine` it is the empty process that is subtracted: numpy and the runtime imported, nothing loaded.
    `steady_peak_mb` is None where the kernel does not let a process reset its own peak.
    """
    import_runtime(request["runtime"])
    if request.get("engine") is None:
        return {"peak_mb": status_mb("VmHWM")}
    inputs = rotation(request["inputs"], request["batch"], limit=1)
    session = open_session(request["runtime"], request["engine"], request["threads"], request["batch"])
    session.run(inputs)
    load = status_mb("VmHWM")
    reset = _reset_peak()
    for _ in range(request.get("runs", 32)):
        session.run(inputs)
    steady = status_mb("VmHWM")
    peak = None if load is None or steady is None else max(load, steady)
    return {"peak_mb": peak, "load_peak_mb": load, "steady_peak_mb": steady if reset else None}


def _reset_peak() -> bool:
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
            stream.write("5")
    except OSError:
        return False
    return True
