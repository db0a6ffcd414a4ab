"""What this machine is, and what state it is in: everything a latency may depend on, read without root."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from typing import Any, Dict, List, Optional

from . import board
from .cgroup import quota_cores
from .sysfs import numbers, text, texts

_VECTOR_FLAGS = ("avx", "fma", "f16c", "sse4", "amx", "asimd", "sve", "sme", "i8mm", "bf16", "neon", "fphp")
_PACKAGES = ("numpy", "onnxruntime", "openvino", "tensorrt", "tensorrt_rtx")


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
        "boot": text("/proc/sys/kernel/random/boot_id"),
        "cpu": cpu.get("model name") or text("/proc/device-tree/model") or platform.processor() or None,
        "model": (text("/proc/device-tree/model") or "").strip("\0 ") or None,
        "isa": isa(flags),
        "cores": os.cpu_count(),
        "memory_mb": _memory_mb(),
        "threads_per_core": _threads_per_core(),
        "virtual": "hypervisor" in flags,
        "hypervisor": _hypervisor() if "hypervisor" in flags else None,
        "quota_cores": quota_cores(),
        "python": platform.python_version(),
        "gpu": _gpu(),
        "versions": versions(),
    }


def state() -> Dict[str, Any]:
    """Return what may change from moment to moment; two of these, before and after, are judged together.

    `busy_s` is what all processors worked, `total_s` what they could have worked, and `own_s` what this process and its
    ended children worked, in seconds since some fixed moment: what others did is the difference.
    """
    ticks = [int(word) for word in (text("/proc/stat") or "").partition("\n")[0].split()[1:]]
    cpus = "/sys/devices/system/cpu/cpu[0-9]*/"
    return {
        "at": time.time(),
        "pid": os.getpid(),
        "governor": sorted(set(texts(cpus + "cpufreq/scaling_governor"))),
        "clocks_mhz": _clocks_mhz(cpus),
        "temperature_c": [t / 1000 for t in numbers("/sys/class/thermal/thermal_zone*/temp")],
        "throttled": sum(numbers(cpus + "thermal_throttle/*_throttle_count")),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "ticks": sum(ticks[:8]) if ticks else None,
        "stolen_ticks": ticks[7] if len(ticks) > 7 else None,
        "affinity": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "quota_cores": quota_cores(),
        **_work(ticks),
        **board.state(),
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
    driver = text("/sys/module/nvidia/version")
    return {**found, "nvidia-driver": driver} if driver else found


def _gpu() -> Optional[Dict[str, str]]:
    """Return name, compute capability and driver of the first GPU of NVIDIA's, None where there is none."""
    try:
        from ..runtime.cuda import Driver  # which needs numpy, and what is missing here may be just that

        found = Driver()
        return {"name": found.name(), "compute_capability": found.compute_capability(), "driver": found.driver()}
    except (ImportError, RuntimeError):
        return None


def _work(ticks: List[int]) -> Dict[str, Optional[float]]:
    """Return `busy_s`, `total_s` and `own_s` from the first line of /proc/stat."""
    if len(ticks) < 7:
        return {"busy_s": None, "total_s": None, "own_s": None}
    user, nice, system, idle, waiting, interrupts, soft = ticks[:7]
    hertz = os.sysconf("SC_CLK_TCK")
    busy = user + nice + system + interrupts + soft
    return {"busy_s": busy / hertz, "total_s": (busy + idle + waiting) / hertz, "own_s": sum(os.times()[:4])}


def _threads_per_core() -> Optional[int]:
    """Return how many hardware threads share the first core; 1 where simultaneous multithreading is off."""
    siblings = text("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    if not siblings:
        return None
    ends = [part.partition("-") for part in siblings.split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def _hypervisor() -> Optional[str]:
    """Return what the virtual machine says it is made by, None where it says nothing."""
    named = [text("/sys/class/dmi/id/" + key) for key in ("sys_vendor", "product_name")]
    return " ".join(word for word in named if word) or text("/sys/hypervisor/type")


def _cpuinfo() -> Dict[str, str]:
    """Return the first processor's entries; on ARM the flags are per processor, too."""
    entries: Dict[str, str] = {}
    for line in (text("/proc/cpuinfo") or "").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            entries.setdefault(key.strip(), value.strip())
    return entries


def _clocks_mhz(cpus: str) -> List[float]:
    by_driver = [kilohertz / 1000 for kilohertz in numbers(cpus + "cpufreq/scaling_cur_freq")]
    if by_driver:
        return by_driver
    lines = (text("/proc/cpuinfo") or "").splitlines()
    return [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]


def _memory_mb() -> Optional[float]:
    for line in (text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None
