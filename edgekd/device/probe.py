"""What this machine is, and what state it is in: everything a latency may depend on, read without root."""

from __future__ import annotations

import glob
import os
import platform
import time
from importlib import metadata
from typing import Any, Dict, List, Optional

_VECTOR_FLAGS = ("avx", "fma", "f16c", "sse4", "amx", "asimd", "sve", "sme", "i8mm", "bf16", "neon", "fphp")
_PACKAGES = ("numpy", "onnxruntime", "openvino")


def probe(request: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    """Return the lasting facts of `identity` and the passing ones of `state` in one mapping; asks for nothing."""
    del request
    return {**identity(), "state": state()}


def identity() -> Dict[str, Any]:
    """Return what does not change while the machine is up: processor, instruction sets, cores, versions."""
    cpu = _cpuinfo()
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "kernel": platform.release(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "cpu": cpu.get("model name") or _text("/proc/device-tree/model") or platform.processor() or None,
        "isa": isa(flags),
        "cores": os.cpu_count(),
        "memory_mb": _memory_mb(),
        "virtual": "hypervisor" in flags,
        "python": platform.python_version(),
        "versions": versions(),
    }


def state() -> Dict[str, Any]:
    """Return what may change from moment to moment; two of these, before and after, are judged together."""
    ticks = [int(word) for word in (_text("/proc/stat") or "").partition("\n")[0].split()[1:]]
    cpus = "/sys/devices/system/cpu/cpu[0-9]*/"
    return {
        "at": time.time(),
        "governor": sorted(set(_texts(cpus + "cpufreq/scaling_governor"))),
        "clocks_mhz": _clocks_mhz(cpus),
        "temperature_c": [int(t) / 1000 for t in _texts("/sys/class/thermal/thermal_zone*/temp") if _is_number(t)],
        "throttled": sum(int(t) for t in _texts(cpus + "thermal_throttle/core_throttle_count") if _is_number(t)),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "ticks": sum(ticks[:8]) if ticks else None,
        "stolen_ticks": ticks[7] if len(ticks) > 7 else None,
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "quota_cores": _quota_cores(),
    }


def isa(flags: List[str]) -> List[str]:
    """Return the vector instruction sets among processor flags, plus `vnni` where either form of it is there."""
    found = {flag for flag in flags if flag.startswith(_VECTOR_FLAGS) and flag != "smep"}
    if found & {"avx512_vnni", "avx_vnni"}:
        found.add("vnni")
    return sorted(found)


def versions() -> Dict[str, str]:
    """Return the versions of what is installed, without importing it."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _cpuinfo() -> Dict[str, str]:
    """Return the first processor's entries; on ARM the flags are per processor, too."""
    entries: Dict[str, str] = {}
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            entries.setdefault(key.strip(), value.strip())
    return entries


def _clocks_mhz(cpus: str) -> List[float]:
    by_driver = [int(text) / 1000 for text in _texts(cpus + "cpufreq/scaling_cur_freq") if _is_number(text)]
    if by_driver:
        return by_driver
    lines = (_text("/proc/cpuinfo") or "").splitlines()
    return [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]


def _memory_mb() -> Optional[float]:
    for line in (_text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _quota_cores() -> Optional[float]:
    """Return how many cores' worth of time the control group may use, None without a limit."""
    group = (_text("/proc/self/cgroup") or "").rpartition("::")[2].strip("/")
    for folder in ("/sys/fs/cgroup/" + group, "/sys/fs/cgroup"):
        quota, _, period = (_text(os.path.join(folder, "cpu.max")) or "").partition(" ")
        if _is_number(quota) and _is_number(period):
            return int(quota) / int(period)
    quota, period = (_text("/sys/fs/cgroup/cpu/cpu.cfs_{}_us".format(key)) or "" for key in ("quota", "period"))
    return int(quota) / int(period) if _is_number(quota) and _is_number(period) else None


def _is_number(text: str) -> bool:
    return text.isdigit()


def _texts(pattern: str) -> List[str]:
    return [text for text in (_text(path) for path in sorted(glob.glob(pattern))) if text]


def _text(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip("\x00\n ")
    except OSError:
        return None
